//! The token is where the file sends it, and nowhere else.

use std::fs;

use super::{Poll, TOKEN};
use crate::support::api::Reply;
use crate::support::broker::Broker;
use crate::support::process::{Running, run};

/// Parts of the token, as it is and as it stands in an address.
const TRACES: [&str; 2] = ["canary", "9d1c7e"];

#[track_caller]
fn no_trace(said: &str) {
    for trace in TRACES {
        assert!(!said.contains(trace), "{said}");
    }
}

#[test]
fn the_token_is_sent_and_shown_nowhere() {
    let symbols = ["PETR4", "ECHO3", "ECHO4", "MOVE3", "FAIL3", "HTML3", "LATE3"];
    let mut poll = Poll::new(Broker::mock(), &symbols);
    poll.request += "attempts = 2\n";
    poll.history = format!("[history]\nurl = \"{}\"\n", poll.folder().join("history").display());
    for (format, level) in [("text", "trace"), ("json", "trace"), ("text", "info")] {
        poll.api.reply("ECHO3", [Reply::Echo(400)]);
        // The token stands where an excerpt is cut off.
        poll.api.reply("ECHO4", [Reply::Echo(200)]);
        poll.api.reply("MOVE3", [Reply::Elsewhere]);
        poll.api.reply("FAIL3", [Reply::Echo(500), Reply::Echo(503)]);
        poll.api.reply("HTML3", [Reply::Raw(200, "<html>")]);
        poll.api.reply("LATE3", [Reply::Later(429, "1")]);
        let mut command = poll.command(&["--once", "--log-format", format]);
        let ended = run(command.env("WINDROW_LOG", level)).expect(1);
        assert_eq!(ended.stdout, "2 succeeded, 5 failed\n", "{}", ended.stderr);
        no_trace(&ended.said());
        assert!(ended.stderr.contains("bad token=*** and Bearer ***"), "{}", ended.stderr);
    }
    for seen in poll.api.seen() {
        assert_eq!(seen.query, "token=canary-9d1c7e%2F%2B%3D");
        assert_eq!(seen.authorization, format!("Bearer {TOKEN}"));
    }
    for (key, value) in poll.records() {
        no_trace(&format!("{key} {value}"));
    }
    for entry in walk(&poll.folder().join("history")) {
        no_trace(&String::from_utf8_lossy(&fs::read(entry).unwrap()));
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn passwords_of_store_and_broker_are_shown_nowhere() {
    let histories = [
        "url = \"postgres://ann@127.0.0.1:1/market\"\npassword = \"${API_TOKEN}\"\n",
        "url = \"s3://lake/history\"\nproperties = { endpoint = \"http://127.0.0.1:1\", access_key_id = \"x\", secret_access_key = \"${API_TOKEN}\" }\n",
    ];
    let mongodb = cfg!(feature = "mongodb")
        .then_some("url = \"mongodb://ann@127.0.0.1:1/market\"\npassword = \"${API_TOKEN}\"\n");
    for history in histories.into_iter().chain(mongodb) {
        let mut poll = Poll::new(Broker::mock(), &["PETR4"]);
        poll.history = format!("[history]\n{history}");
        poll.kafka = "delivery_timeout = \"1 second\"\nproperties = { \"security.protocol\" = \"SASL_PLAINTEXT\", \
                      \"sasl.mechanism\" = \"PLAIN\", \"sasl.username\" = \"ann\", \"sasl.password\" = \"${API_TOKEN}\" }\n"
            .to_owned();
        let ended =
            Running::start(poll.command(&["--once"]).env("WINDROW_LOG", "trace")).wait(crate::support::PATIENCE);
        let ended = ended.expect(1);
        assert_eq!(ended.stdout, "0 succeeded, 1 failed\n");
        assert!(
            ended.stderr.contains("not kept in the history") && ended.stderr.contains("not published"),
            "{}",
            ended.stderr
        );
        no_trace(&ended.said());
    }
}

#[test]
fn a_token_in_the_file_is_refused_and_not_repeated() {
    let poll = Poll::new(Broker::mock(), &["PETR4"]);
    let path = poll.write();
    let text = fs::read_to_string(&path).unwrap();
    for inline in [
        text.replace("token=${API_TOKEN}", "token=canary-9d1c7e"),
        text.replace("Bearer ${API_TOKEN}", "Bearer canary-9d1c7e"),
    ] {
        fs::write(&path, inline).unwrap();
        let mut command = crate::support::process::windrow();
        let ended = run(command.arg("poll").arg(&path).env("API_TOKEN", TOKEN)).expect(2);
        assert!(ended.stderr.contains("the file holds the token itself"), "{}", ended.stderr);
        no_trace(&ended.said());
    }
}
