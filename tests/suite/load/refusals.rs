//! What is not loaded, and the words that say why.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use super::{assert_whole, fill, load, plan, raw};
use crate::support::place::Place;
use crate::support::postgres::{Postgres, expected};
use crate::support::process::{run, windrow};
use crate::support::rides::{Plan, SECOND};
use crate::support::seed;

#[test]
fn a_server_that_is_away_is_an_error_after_a_few_tries() {
    let place = Place::disk();
    fill(&place, &plan(200).lines()[0], |_| {});
    let mut command = place.windrow();
    command.arg("load").arg(place.url()).args(["--into", "postgres://ann:canary@127.0.0.1:1/rides", "--create"]);
    let ended = run(&mut command).expect(1);
    assert!(ended.stderr.contains("postgres ann@127.0.0.1:1/rides: cannot connect"), "{}", ended.stderr);
    assert!(ended.stderr.contains("Connection refused") && !ended.said().contains("canary"), "{}", ended.stderr);
}

#[test]
fn a_wrong_password_is_told_and_never_shown() {
    let place = Place::disk();
    fill(&place, &plan(200).lines()[0], |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // A server that asks for the password and refuses it.
    let server = thread::spawn(move || {
        let mut passwords = Vec::new();
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut read = |length: usize| {
                let mut bytes = vec![0; length];
                stream.read_exact(&mut bytes).unwrap();
                bytes
            };
            let length = u32::from_be_bytes(read(4).try_into().unwrap());
            read(length as usize - 4);
            stream.write_all(b"R\0\0\0\x08\0\0\0\x03").unwrap();
            let mut head = [0; 5];
            stream.read_exact(&mut head).unwrap();
            let mut password = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
            stream.read_exact(&mut password).unwrap();
            passwords.push(String::from_utf8(password).unwrap());
            let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"ann\"\0\0";
            stream.write_all(b"E").unwrap();
            stream.write_all(&u32::try_from(fields.len() + 4).unwrap().to_be_bytes()).unwrap();
            stream.write_all(fields).unwrap();
        }
        passwords
    });
    for (address, env) in [("ann:canary", None), ("ann", Some("canary"))] {
        let mut command = place.windrow();
        command.arg("load").arg(place.url()).args(["--into", &format!("postgres://{address}@127.0.0.1:{port}/rides")]);
        command.env_remove("PGPASSWORD").envs(env.map(|password| ("PGPASSWORD", password)));
        let ended = run(&mut command).expect(2);
        assert!(ended.stderr.contains("password authentication failed for user \"ann\""), "{}", ended.stderr);
        assert!(!ended.said().contains("canary"), "{}", ended.said());
    }
    assert_eq!(server.join().unwrap(), ["canary\0", "canary\0"]);
}

#[test]
fn an_address_in_the_wrong_place_is_not_repeated() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().to_str().unwrap();
    for arguments in [
        ["load", "postgres://ann:canary@db/rides", "--into", folder],
        ["load", folder, "--into", "postgres//ann:canary@db/rides"],
    ] {
        let ended = run(windrow().args(arguments)).expect(2);
        assert!(!ended.said().contains("canary"), "{}", ended.said());
    }
}

/// Nothing is in the table, and the ledger knows of no entry.
#[track_caller]
fn assert_empty(postgres: &Postgres, table: &str) {
    assert_eq!(postgres.ledger(table), (0, 0));
    assert_eq!(postgres.number(&format!("SELECT count(*) FROM {table}")), 0);
}

#[test]
fn tables_that_are_missing_or_do_not_fit_are_refused() {
    let Some(postgres) = Postgres::from_env("tables_that_are_missing_or_do_not_fit_are_refused") else { return };
    let place = Place::disk();
    fill(&place, &plan(500).lines()[0], |_| {});
    let table = postgres.table("rides");
    let ended = run(&mut load(&postgres, &place, &table, &[])).expect(2);
    assert!(ended.stderr.contains(&table) && ended.stderr.contains("--create"), "{}", ended.stderr);
    let ended = run(&mut load(&postgres, &place, "nowhere.rides", &["--create"])).expect(2);
    assert!(ended.stderr.contains("no schema \"nowhere\""), "{}", ended.stderr);

    postgres.execute(&format!(
        "CREATE TABLE {table} (window_start timestamptz, window_end timestamptz, pickup_location text, revenue numeric(10,2), \
         lowest numeric(12,2), highest numeric(12,2), _revision int, note text NOT NULL)"
    ));
    let ended = run(&mut load(&postgres, &place, &table, &[])).expect(2);
    for part in ["\"revenue\" is numeric(10,2), the files bring numeric(22,2)", "\"rides\" is missing", "\"note\""] {
        assert!(ended.stderr.contains(part), "{part}\n{}", ended.stderr);
    }
    assert_empty(&postgres, &table);

    // What the error says mends it.
    let mends: Vec<&str> = ended
        .stderr
        .lines()
        .filter_map(|line| line.split_once(": ALTER").map(|_| &line[line.find("ALTER").unwrap()..]))
        .collect();
    assert_eq!(mends.len(), 3, "{}", ended.stderr);
    mends.iter().for_each(|mend| postgres.execute(mend));
    run(&mut load(&postgres, &place, &table, &[])).expect(0);
    let counts = postgres.query(&format!("SELECT count(*), sum(rides) FROM {table}"));
    assert_eq!(counts[0][0].as_deref(), Some(expected(&place, u64::MAX).len().to_string().as_str()));
}

#[test]
fn a_table_takes_the_results_of_one_log_only() {
    let Some(postgres) = Postgres::from_env("a_table_takes_the_results_of_one_log_only") else { return };
    let (place, other) = (Place::disk(), Place::disk());
    fill(&place, &plan(500).lines()[0], |_| {});
    fill(&other, &plan(500).lines()[0], |_| {});
    let table = postgres.table("rides");
    run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
    let ended = run(&mut load(&postgres, &other, &table, &["--create"])).expect(2);
    assert!(ended.stderr.contains("another log") && ended.stderr.contains(&place.url()), "{}", ended.stderr);
    assert_whole(&postgres, &place, &table);

    // A sink that has moved is the same sink.
    let moved = Place::disk();
    let copied = std::process::Command::new("cp").arg("-r").arg(place.url()).arg(moved.url()).status().unwrap();
    assert!(copied.success());
    let ended = run(&mut load(&postgres, &moved, &table, &["--create"])).expect(0);
    assert!(ended.stdout.starts_with("nothing new"), "{}", ended.stdout);
}

#[test]
fn files_that_are_not_what_was_published_are_not_loaded() {
    let Some(postgres) = Postgres::from_env("files_that_are_not_what_was_published_are_not_loaded") else { return };
    let place = Place::disk();
    fill(&place, &plan(500).lines()[0], |_| {});
    let table = postgres.table("rides");
    let key = place.keys("data", ".parquet").remove(0);
    let whole = place.get(&key);
    let mut damaged = whole.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    place.plant(&key, &damaged);
    let ended = run(&mut load(&postgres, &place, &table, &["--create"])).expect(1);
    assert!(ended.stderr.contains(&key) && ended.stderr.contains("not what was published"), "{}", ended.stderr);
    place.remove(&key);
    let ended = run(&mut load(&postgres, &place, &table, &["--create"])).expect(1);
    assert!(ended.stderr.contains(&key) && ended.stderr.contains("missing"), "{}", ended.stderr);
    place.plant(&key, &whole);
    run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
    assert_whole(&postgres, &place, &table);
}

#[test]
fn rows_that_a_trigger_drops_and_values_that_a_constraint_refuses_roll_the_entry_back() {
    let Some(postgres) = Postgres::from_env("rows_that_a_trigger_drops") else { return };
    let place = Place::disk();
    fill(&place, &plan(500).lines()[0], |_| {});
    let table = postgres.table("rides");
    run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
    let forget = format!("TRUNCATE {table}; DELETE FROM {}", postgres.table("_windrow_loads"));
    postgres.execute(&forget);
    let drop_one = postgres.table("drop_one");
    postgres.execute(&format!(
        "CREATE FUNCTION {drop_one}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.pickup_location = 'Astoria' THEN \
         RETURN NULL; END IF; RETURN NEW; END $$; CREATE TRIGGER t BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION \
         {drop_one}()"
    ));
    let ended = run(&mut load(&postgres, &place, &table, &[])).expect(1);
    assert!(ended.stderr.contains("trigger"), "{}", ended.stderr);
    assert_empty(&postgres, &table);
    postgres.execute(&format!("DROP TRIGGER t ON {table}; ALTER TABLE {table} ADD CHECK (rides > 1000000)"));
    let ended = run(&mut load(&postgres, &place, &table, &[])).expect(1);
    assert!(ended.stderr.contains("violates check constraint"), "{}", ended.stderr);
    assert_empty(&postgres, &table);
}

#[test]
fn text_with_a_nul_is_refused_by_row_and_column() {
    let Some(postgres) = Postgres::from_env("text_with_a_nul_is_refused_by_row_and_column") else { return };
    let place = Place::disk();
    let mut lines = Plan::clean(seed(), &[50], SECOND).lines().remove(0);
    lines[17].text = lines[17]
        .text
        .as_ref()
        .map(|text| text.replace("\"pickup_location\"", "\"pickup_location\":\"a\\u0000b\",\"x\""));
    fill(&place, &lines, raw);
    let table = postgres.table("rides");
    let ended = run(&mut load(&postgres, &place, &table, &["--create"])).expect(1);
    assert!(
        ended.stderr.contains(" row ") && ended.stderr.contains("column \"pickup_location\": the text has a NUL"),
        "{}",
        ended.stderr
    );
}

#[test]
fn without_the_right_to_write_the_error_says_which_is_missing() {
    let Some(postgres) = Postgres::from_env("without_the_right_to_write") else { return };
    let place = Place::disk();
    fill(&place, &plan(200).lines()[0], |_| {});
    let table = postgres.table("rides");
    run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
    let (schema, role) = (table.split('.').next().unwrap(), table.replace('.', "_"));
    postgres.execute(&format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}"));
    let url = format!("postgres://{role}@{}", postgres.url().rsplit_once('@').unwrap().1);
    let mut command = place.windrow();
    command.arg("load").arg(place.url()).args(["--into", &url, "--table", &table]);
    let ended = run(&mut command).expect(2);
    assert!(ended.stderr.contains("permission denied") && ended.stderr.contains("SELECT, INSERT"), "{}", ended.stderr);
    postgres.execute(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"));
    run(&mut command).expect(0);
    postgres.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn load_needs_a_sink_with_a_log() {
    let dir = TempDir::new().unwrap();
    let into = ["--into", "postgres://127.0.0.1:1/x"];
    let load = |sink: &Path| run(windrow().arg("load").arg(sink).args(into)).expect(2);
    assert!(load(dir.path()).stderr.contains("no log"));
    assert!(load(&dir.path().join("nothing")).stderr.contains("nothing"));
}
