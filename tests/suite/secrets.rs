//! Secrets are in no output, no log line and no file, whatever goes wrong.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::pipeline::PipelineFile;
use crate::support::place::{Place, S3};
use crate::support::process::{Ended, Running, run, windrow};

const CANARY: &str = "canary-9d1c7e";

fn over_sasl(password: &str, dir: &Path) -> PipelineFile {
    let properties = format!(
        "properties = {{ \"security.protocol\" = \"SASL_PLAINTEXT\", \"sasl.mechanism\" = \"PLAIN\", \
         \"sasl.username\" = \"windrow\", \"sasl.password\" = \"{password}\" }}"
    );
    let mut pipeline = PipelineFile::over_file("unused", &Place::disk());
    pipeline.source =
        format!("[source.kafka]\nbrokers = \"127.0.0.1:1\"\ntopic = \"rides\"\ngroup = \"rides\"\n{properties}");
    pipeline.sink = dir.join("sink").display().to_string();
    pipeline
}

#[track_caller]
fn keeps_the_secret(ended: &Ended) {
    assert!(!ended.said().contains(CANARY), "{}", ended.said());
}

/// Every file below `folder` that holds the canary, the pipeline file aside.
fn leaks(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(leaks(&path));
        } else if path.extension().is_none_or(|end| end != "toml") {
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_password_is_not_told_when_the_broker_cannot_be_reached() {
    let dir = TempDir::new().unwrap();
    for (password, set) in [(CANARY, false), ("${RIDES_PASSWORD}", true)] {
        let file = over_sasl(password, dir.path()).write(dir.path());
        for format in ["text", "json"] {
            let mut command = windrow();
            command.args(["--log-format", format, "run"]).arg(&file).env("WINDROW_LOG", "debug");
            if set {
                command.env("RIDES_PASSWORD", CANARY);
            }
            let mut running = Running::start(&mut command);
            running.wait_for("waiting");
            let said = running.kill();
            assert!(!said.contains(CANARY), "{said}");
        }
    }
    assert_eq!(leaks(dir.path()), Vec::<String>::new());
}

#[test]
fn a_password_is_not_told_by_a_check() {
    let dir = TempDir::new().unwrap();
    let file = over_sasl(CANARY, dir.path()).write(dir.path());
    keeps_the_secret(&run(windrow().args(["check", "--offline"]).arg(&file)).expect(0));
    let ended = run(windrow().arg("check").arg(&file));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    keeps_the_secret(&ended);
}

#[test]
fn a_password_is_not_told_by_the_error_about_its_own_line() {
    let dir = TempDir::new().unwrap();
    let text = over_sasl(CANARY, dir.path()).text();
    let secret = format!("\"{CANARY}\"");
    let wrongs = [
        text.replace(&secret, &format!("\"{CANARY}")),
        text.replace(&secret, CANARY),
        text.replace(&secret, &format!("[\"{CANARY}\"]")),
        text.replace("sasl.password", "sasl.pasword"),
        text.replace("\"PLAIN\"", "\"NONE\""),
        text.replace(&secret, &format!("{secret}, \"enable.auto.commit\" = \"true\"")),
        text.replace(&secret, &format!("\"${{NOT_SET}}{CANARY}\"")),
    ];
    let path = dir.path().join("wrong.toml");
    for (index, wrong) in wrongs.iter().enumerate() {
        fs::write(&path, wrong).unwrap();
        // What librdkafka alone can judge, it judges when it is asked to connect.
        let ended = run(windrow().arg("check").arg(&path));
        assert!(matches!(ended.code, Some(1 | 2)), "{index}: {}", ended.said());
        keeps_the_secret(&ended);
    }
}

#[test]
fn a_secret_of_the_store_is_not_told() {
    let Some(server) = S3::from_env("a_secret_of_the_store_is_not_told") else { return };
    let dir = TempDir::new().unwrap();
    let input = dir.path().join("rides.jsonl");
    fs::write(&input, "").unwrap();
    let mut pipeline = PipelineFile::over_file(input.to_str().unwrap(), &Place::disk());
    pipeline.sink = format!("s3://{}/secrets", server.bucket);
    let properties = |key: &str| {
        format!(
            "properties = {{ endpoint = \"{}\", region = \"{}\", access_key_id = \"{}\", {key} = \"{CANARY}\" }}\n",
            server.endpoint, server.region, server.key
        )
    };
    for key in ["secret_access_key", "secret_acess_key"] {
        pipeline.sink_lines = properties(key);
        let ended = run(windrow()
            .args(["run", "--log-format", "json"])
            .arg(pipeline.write(dir.path()))
            .env("WINDROW_LOG", "debug"));
        assert!(matches!(ended.code, Some(1 | 2)), "{key}: {}", ended.said());
        keeps_the_secret(&ended);
    }
    let arguments = ["status", &pipeline.sink, "--property", &format!("endpoint={}", server.endpoint)];
    let secret = format!("secret_access_key={CANARY}");
    let ended = run(windrow().args(arguments).args(["--property", "access_key_id=x", "--property", &secret]));
    assert_ne!(ended.code, Some(0));
    keeps_the_secret(&ended);
}
