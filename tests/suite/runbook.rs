//! Every error that can end a run or a command is in the runbook of docs/operating.md; those of a pipeline file name its
//! line and are not.
//!
//! The sources are read as text: each place that makes an error, and the words it is made of. The longest of them between two values must stand in the runbook.

use std::fs;
use std::path::{Path, PathBuf};

/// Where errors are made.
const FOLDERS: [&str; 9] = [
    "src/sink",
    "src/log",
    "src/pipeline",
    "src/source",
    "src/query",
    "src/load",
    "src/handover",
    "src/poll",
    "src/cli",
];
const ERRORS: [&str; 8] = [
    "SinkError::",
    "LogError::",
    "SourceError::",
    "QueryError::",
    "LoadError::",
    "HandoverError::",
    "PollError::",
    "Error::Usage",
];
/// Fewer words than this say nothing: the error is told by another.
const LEAST: usize = 8;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            found.push(path);
        }
    }
}

/// The first string literal of some code, its escapes read, and what comes before it.
fn literal(code: &str) -> Option<(String, &str)> {
    let (before, rest) = code.split_once('"')?;
    let mut text = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some((text, before)),
            '\\' => match chars.next()? {
                // A line that goes on: its indentation does not count.
                '\n' => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                'n' => text.push('\n'),
                escaped => text.push(escaped),
            },
            c => text.push(c),
        }
    }
    None
}

/// The words of the error that is made at the end of `before` and the beginning of `after`.
fn words<'a>(before: &'a str, after: &'a str) -> Option<String> {
    let argument = after.split_once('(')?.1.trim_start();
    if argument.starts_with("text)") {
        return literal(before.rsplit_once("let text")?.1).map(|(text, _)| text);
    }
    let (text, between) = literal(argument)?;
    (between.trim() == "" || between.trim() == "format!(").then_some(text)
}

/// The longest stretch of words between two values.
fn longest(text: &str) -> String {
    let mut stretches = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                stretches.push(String::new());
            }
            c if depth == 0 => stretches.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    let longest = stretches.into_iter().max_by_key(String::len).unwrap();
    longest.trim_matches(|c: char| c.is_whitespace() || ":;,.()\"".contains(c)).to_owned()
}

#[test]
fn every_error_that_ends_a_run_or_a_command_is_in_the_runbook() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runbook = fs::read_to_string(root.join("docs/operating.md")).unwrap();
    let runbook = runbook.split_once("## Runbook").unwrap().1;
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| sources(&root.join(folder), &mut files));
    let (mut found, mut missing) = (0, Vec::new());
    for file in files {
        let code = fs::read_to_string(&file).unwrap();
        let code = code.split("#[cfg(test)]").next().unwrap();
        let places = ERRORS.iter().flat_map(|error| code.match_indices(error));
        for (at, error) in places {
            let Some(words) = words(&code[..at], &code[at + error.len()..]) else { continue };
            let words = longest(&words);
            if words.len() < LEAST {
                continue;
            }
            found += 1;
            if !runbook.contains(&words) {
                let line = code[..at].lines().count();
                missing.push(format!("{}:{line}: {words}", file.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(found > 150, "only {found} errors were found in the sources: have they another form now?");
    assert!(missing.is_empty(), "add what these mean, and what to do, to docs/operating.md:\n{}", missing.join("\n"));
}
