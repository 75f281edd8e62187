//! Loaders that are killed, run side by side, or lose their connection.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{assert_consistent, assert_whole, fill, grow, load, plan, raw, ride_lines};
use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::postgres::{Postgres, expected};
use crate::support::process::{Ended, Running, run};
use crate::support::proxy::Proxy;
use crate::support::worlds::World;
use crate::support::{PATIENCE, eventually, seed};

#[test]
fn killed_again_and_again_while_it_follows_a_running_pipeline_the_table_equals_the_sink() {
    const TEST: &str = "killed_again_and_again_while_it_follows";
    let Some(postgres) = Postgres::from_env(TEST) else { return };
    let world = World::new(Broker::mock(), Place::disk(), 2);
    let mut plan = plan(0);
    plan.records = vec![12_000; 2];
    let lines = plan.lines();
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut pipeline = PipelineFile::over_topic(&world);
    pipeline.window += "emit = \"early\"\n";
    let file = pipeline.write(world.dir.path());
    let producer = world.broker.producer(&world.topic, &[]);
    let sender = thread::spawn(move || {
        for index in 0..12_000 {
            for (partition, lines) in lines.iter().enumerate() {
                producer.send(partition, lines[index].text.as_deref());
            }
            if index % 50 == 0 {
                thread::sleep(Duration::from_millis(50));
            }
        }
        producer.flush();
    });
    let mut pipeline = Running::start(world.place.windrow().arg("run").arg(&file));
    eventually("the pipeline has begun", PATIENCE, || world.place.newest().map(|_| ()));
    let table = postgres.table("rides");
    let mut seen = BTreeSet::new();
    for _ in 0..16 {
        pipeline.assert_runs();
        let options = ["--create", "--follow", "--poll", "100ms"];
        let mut running = Running::start(&mut load(&postgres, &world.place, &table, &options));
        thread::sleep(Duration::from_millis(rng.random_range(50..1_200)));
        running.assert_runs();
        running.kill();
        seen.insert(assert_consistent_when_quiet(&postgres, &world.place, &table));
    }
    eprintln!("consistent after entries {seen:?}");
    assert!(seen.len() > 5, "it went on while it was being killed");
    sender.join().unwrap();
    pipeline.stop().expect(0);
    run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    run(&mut load(&postgres, &world.place, &table, &["--create"])).expect(0);
    assert_whole(&postgres, &world.place, &table);
    assert!(!world.place.keys("corrections", ".parquet").is_empty());
}

/// Looks once the server has rolled back what a killed loader left.
fn assert_consistent_when_quiet(postgres: &Postgres, place: &Place, table: &str) -> u64 {
    eventually("the server rolls back", PATIENCE, || {
        let of = "FROM pg_stat_activity WHERE application_name = 'windrow load' AND query LIKE";
        (postgres.number(&format!("SELECT count(*) {of} '%{table}%'")) == 0
            && postgres.number(&format!("SELECT count(*) {of} '%{}%'", table.replace('.', "\".\""))) == 0)
            .then_some(())
    });
    assert_consistent(postgres, place, table)
}

#[test]
fn killed_in_the_middle_of_copies_a_raw_table_equals_the_sink() {
    let Some(postgres) = Postgres::from_env("killed_in_the_middle_of_copies") else { return };
    let (seed, place) = (seed(), Place::disk());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for part in 1..=10 {
        grow(&place, &ride_lines()[..part * 1_200], raw);
    }
    fill(&place, ride_lines(), raw);
    let table = postgres.table("rides");
    run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
    let from_the_beginning = format!("TRUNCATE {table}; DELETE FROM {}", postgres.table("_windrow_loads"));
    postgres.execute(&from_the_beginning);
    // Slow enough to be killed in the middle of an entry more often than not.
    let slow = postgres.table("slow");
    postgres.execute(&format!(
        "CREATE FUNCTION {slow}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF random() < 0.05 THEN PERFORM pg_sleep(0.001); END IF; RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {slow}()"
    ));
    let copying = format!("SELECT count(*) FROM pg_stat_progress_copy WHERE relid = '{table}'::regclass");
    let (mut kills, mut inside, mut seen) = (0, 0, BTreeSet::new());
    while kills < 12 {
        let mut running = Running::start(&mut load(&postgres, &place, &table, &[]));
        thread::sleep(Duration::from_millis(rng.random_range(20..500)));
        // Whatever is under way is rolled back: ledger and table agree at any moment.
        inside += u32::from(postgres.number(&copying) > 0);
        let ended = running.exit_code();
        running.kill();
        seen.insert(assert_consistent_when_quiet(&postgres, &place, &table));
        if ended.is_some() {
            assert_eq!(ended, Some(0));
            assert_whole(&postgres, &place, &table);
            postgres.execute(&from_the_beginning);
        } else {
            kills += 1;
        }
    }
    eprintln!("{kills} kills, {inside} in the middle of a copy, consistent after entries {seen:?}");
    assert!(inside > 2 && seen.len() > 2, "{inside} kills in the middle of a copy, seen {seen:?}");
    postgres.execute(&format!("DROP TRIGGER slow ON {table}"));
    run(&mut load(&postgres, &place, &table, &[])).expect(0);
    assert_whole(&postgres, &place, &table);
}

#[test]
fn two_loaders_at_once_apply_every_entry_once() {
    let Some(postgres) = Postgres::from_env("two_loaders_at_once_apply_every_entry_once") else { return };
    let place = Place::disk();
    // The same file again, longer each time: an entry or more for each run.
    for part in 1..=8 {
        grow(&place, &ride_lines()[..part * 1_500], |_| {});
    }
    let table = postgres.table("rides");
    let start = || Running::start(&mut load(&postgres, &place, &table, &["--create"]));
    let both = [start(), start(), start()];
    let said: Vec<Ended> = both.into_iter().map(|running| running.wait(PATIENCE).expect(0)).collect();
    assert_whole(&postgres, &place, &table);
    let (_, entries) = postgres.ledger(&table);
    let loaded: u64 = said
        .iter()
        .filter(|ended| !ended.stdout.starts_with("nothing"))
        .map(|ended| ended.stdout.split(' ').next().unwrap().replace(',', "").parse::<u64>().unwrap())
        .sum();
    assert_eq!(loaded, entries, "each entry was applied by one of them");
    assert!(entries > 4, "{entries} entries");
}

#[test]
fn whatever_the_network_loses_nothing_is_applied_twice() {
    let Some(postgres) = Postgres::from_env("whatever_the_network_loses") else { return };
    let place = Place::disk();
    for part in 1..=8 {
        grow(&place, &ride_lines()[..part * 1_500], |_| {});
    }
    let proxy = Proxy::listen(0, &postgres.address(), seed());
    let table = postgres.table("rides");
    let mut command = place.windrow();
    command.arg("load").arg(place.url()).args(["--into", &postgres.url_over(&proxy.address())]);
    command.args(["--table", &table, "--create", "--follow", "--poll", "100ms"]);
    proxy.lose(10);
    let mut running = Running::start(&mut command);
    let newest = expected(&place, u64::MAX);
    eventually("the table is whole", 2 * PATIENCE, || {
        running.assert_runs();
        let there = !postgres.query(&format!("SELECT 1 WHERE to_regclass('{table}') IS NOT NULL")).is_empty();
        (there && postgres.rows(&table) == newest).then_some(())
    });
    eprintln!("{} connections lost", proxy.lost());
    // A server that is away is waited for, and said once.
    proxy.lose(0);
    proxy.cut(true);
    grow(&place, ride_lines(), |_| {});
    fill_rest(&place);
    running.wait_for("trying again");
    proxy.cut(false);
    let newest = expected(&place, u64::MAX);
    eventually("the table is whole again", 2 * PATIENCE, || (postgres.rows(&table) == newest).then_some(()));
    running.wait_for("answers again");
    running.stop().expect(0);
    assert_whole(&postgres, &place, &table);
}

/// Closes the windows that are still open.
fn fill_rest(place: &Place) {
    fill(place, ride_lines(), |_| {});
}
