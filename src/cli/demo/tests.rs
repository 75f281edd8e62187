use super::*;
use crate::cli::{LogFormat, Talk};

const PLAIN: Style = Style { color: false, width: 80 };

fn demo(records: u64) -> Demo {
    Demo { records, seed: 7, out: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_publishes_the_truth_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::create(Some(place.path().join("demo"))).unwrap();
    let terminal = Terminal::start(Talk { quiet: true, log_format: LogFormat::Text });
    let (_keep, asked) = watch::channel(false);
    let outcome = demo(30_000).show(&folder, &terminal, asked).await.unwrap().unwrap();
    let totals = &outcome.entry.totals;
    assert_eq!(totals.read, 30_000);
    assert!(totals.late > 0 && totals.too_late > 0 && totals.invalid() > 0, "{totals:?}");
    assert!(totals.balance());
    assert!(outcome.entry.windows.is_empty());
    assert_eq!(outcome.published.files, 24);

    let page = report::report(&outcome, &folder, "windrow", PLAIN).unwrap();
    assert!(page.contains("\n23:00  ") && page.contains("█") && page.contains("Proved: "), "{page}");
    assert!(page.lines().filter(|line| line.contains('█')).all(|line| line.chars().count() <= 80), "{page}");

    // One cent more in one row, and the page is refused.
    let mut wrong = outcome;
    wrong.published.rows.values_mut().next().unwrap().0 += 1;
    let error = report::report(&wrong, &folder, "windrow", PLAIN).unwrap_err();
    assert!(error.to_string().starts_with("the result is not the truth: window 2026-03-01T00:00:00Z"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_is_stopped_ends_without_a_page() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::create(Some(place.path().join("demo"))).unwrap();
    let terminal = Terminal::start(Talk { quiet: true, log_format: LogFormat::Text });
    let (ask, asked) = watch::channel(false);
    let stopper = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        ask.send_replace(true);
        ask
    });
    assert!(demo(1_000_000_000).show(&folder, &terminal, asked).await.unwrap().is_none());
    drop(stopper.await);
}

#[test]
fn the_pipeline_of_the_demo_is_one_that_run_takes() {
    let text = PIPELINE.replace("BROKERS", &quoted("127.0.0.1:9092")).replace("SINK", &quoted("a \"strange\" folder"));
    let pipeline = Pipeline::parse(&text, "rides.toml", &|_| None).unwrap();
    assert_eq!(pipeline.sink.url, "a \"strange\" folder");
    assert!(matches!(pipeline.source, SourceConfig::Kafka(kafka) if kafka.brokers == "127.0.0.1:9092"));
}
