use std::sync::Arc;

use object_store::memory::InMemory;

use super::*;
use crate::sink::format::FileFormat;
use crate::sink::layout::HANDED_OVER;

fn handed(address: &str) -> Handed {
    let file = FeedFile {
        kind: FileKind::Data,
        path: "data/dt=2026-03-01/t-20260301T080000Z.csv".to_owned(),
        format: FileFormat::Csv,
        window_start: Some("2026-03-01T08:00:00Z".to_owned()),
        window_end: Some("2026-03-01T08:00:30Z".to_owned()),
        revision: 0,
        last: true,
        complete: true,
        part: 1,
        parts: 1,
        rows: 7,
        bytes: 123,
        sha256: "ab".to_owned(),
    };
    Handed::new("t", 42, &file, address.to_owned())
}

fn command(text: &str) -> Command {
    text.parse().unwrap()
}

async fn run(text: &str, address: &str) -> Result<Ended, HandoverError> {
    let (_tell, told) = watch::channel(Told::default());
    command(text).run(&handed(address), &Clock::system(), &told).await
}

#[test]
fn an_address_is_one_word_whatever_is_in_it() {
    let address = "/data/o'brien \"x\" $(touch pwned); `id` {file}/a.csv";
    let words = command("psql -c '\\copy t from {file}' \"{file}\" a\\ b").words(&handed(address));
    assert_eq!(words, ["psql", "-c", &format!("\\copy t from {address}"), address, "a b"]);
}

#[test]
fn a_text_without_a_command_is_refused() {
    for wrong in ["", "  ", "'open", "\"\""] {
        assert!(wrong.parse::<Command>().is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_command_sees_what_is_known_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let script = format!(
        "sh -c 'echo \"$1 $WINDROW_PIPELINE $WINDROW_SEQUENCE $WINDROW_FORMAT $WINDROW_WINDOW_START $WINDROW_WINDOW_END \
         $WINDROW_REVISION $WINDROW_FINAL $WINDROW_ROWS $WINDROW_BYTES\" > {}' sh {{file}}",
        out.display()
    );
    let address = "a b; exit 3; $HOME";
    assert_eq!(run(&script, address).await.unwrap(), Ended::Well);
    let told = std::fs::read_to_string(out).unwrap();
    let expected = "t 42 csv 2026-03-01T08:00:00Z 2026-03-01T08:00:30Z 0 true 7 123\n";
    assert_eq!(told, format!("{address} {expected}"));
}

#[tokio::test]
async fn how_a_command_ended_is_told() {
    assert_eq!(run("sh -c 'exit 3'", "x").await.unwrap(), Ended::Badly("ended with exit code 3".to_owned()));
    let killed = run("sh -c 'kill -9 $$'", "x").await.unwrap();
    assert_eq!(killed, Ended::Badly("was ended by a signal".to_owned()));
    let error = run("/no/such/loader {file}", "x").await.unwrap_err();
    assert!(error.to_string().contains("cannot start the on-batch command /no/such/loader"), "{error}");
    assert_eq!(error.kind(), Kind::Invalid);
}

#[tokio::test]
async fn progress_goes_on_where_it_was_saved() {
    let store = Store::over(Arc::new(InMemory::new()), Clock::system());
    let mut progress = Progress::read(&store).await.unwrap();
    assert_eq!((progress.next(), progress.files()), (1, 0));
    progress.did(2, &store).await.unwrap();
    let after_a_crash = Progress::read(&store).await.unwrap();
    assert_eq!((after_a_crash.next(), after_a_crash.files()), (1, 2));
    progress.passed(&store).await.unwrap();
    progress.passed(&store).await.unwrap();
    progress.save(&store).await.unwrap();
    let later = Progress::read(&store).await.unwrap();
    assert_eq!((later.next(), later.files()), (3, 0));
    // Long stretches without files are not gone through again and again.
    for _ in 0..150 {
        progress.passed(&store).await.unwrap();
    }
    assert!(Progress::read(&store).await.unwrap().next() >= 103);
}

#[tokio::test]
async fn progress_that_cannot_be_read_is_no_beginning() {
    let store = Store::over(Arc::new(InMemory::new()), Clock::system());
    for broken in [&b"{"[..], br#"{"format": 2, "sequence": 9, "files": 0}"#] {
        store.put(HANDED_OVER, broken.to_vec().into()).await.unwrap();
        let error = Progress::read(&store).await.unwrap_err();
        assert!(error.to_string().contains("delete it to hand every file over again"), "{error}");
        assert_eq!(error.kind(), Kind::Data);
    }
}
