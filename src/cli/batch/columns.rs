//! A list of columns as SQL has it: `ticker text, price decimal(12, 2) not null, "ride.fare" int`.

use serde::{Deserialize, Serialize};

/// The columns of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) members: Vec<Member>,
    /// Whether they were learned from records: then the value is kept whole, too.
    pub(super) learned: bool,
}

/// A column of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    /// Its name; without a path, dots in it part the members of nested objects.
    pub(super) name: String,
    /// Its place in the record, if its name does not say it.
    #[serde(default)]
    pub(super) path: Vec<String>,
    /// Its type, as it was written.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Whether a record without it is invalid.
    #[serde(default)]
    pub(super) required: bool,
}

/// Takes a list apart. Whether the types are ones is found out with the pipeline file.
///
/// # Errors
/// What does not read as a column.
pub(super) fn parse(list: &str) -> Result<Listed, String> {
    let members = split(list).into_iter().map(member).collect::<Result<Vec<_>, _>>()?;
    Ok(Listed { members, learned: false })
}

/// The list's members: by commas that are not within brackets or quotes.
fn split(list: &str) -> Vec<&str> {
    let (mut members, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_u32, false);
    for (at, character) in list.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                members.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&list[start..]);
    members
}

fn member(text: &str) -> Result<Member, String> {
    let text = text.trim();
    let wrong = || format!("\"{text}\" is no column; write a name and a type, such as price decimal(12, 2)");
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or_else(wrong)?,
        None => text.split_once(char::is_whitespace).ok_or_else(wrong)?,
    };
    let rest = rest.trim();
    let lower = rest.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let (kind, required) = match words.as_slice() {
        [.., "not", "null"] => (rest[..lower.rfind("not").unwrap_or_default()].trim(), true),
        [.., "null"] => (rest[..lower.rfind("null").unwrap_or_default()].trim(), false),
        _ => (rest, false),
    };
    if name.is_empty() || kind.is_empty() {
        return Err(wrong());
    }
    Ok(Member { name: name.to_owned(), path: Vec::new(), kind: kind.to_owned(), required })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_as_in_sql() {
        let list = " ticker text, price DECIMAL(12, 2) NOT NULL ,\"ride, the.fare\" int null,at timestamp(ms)";
        let found: Vec<_> = parse(list)
            .unwrap()
            .members
            .into_iter()
            .map(|column| (column.name, column.kind, column.required))
            .collect();
        let expected = [
            ("ticker", "text", false),
            ("price", "DECIMAL(12, 2)", true),
            ("ride, the.fare", "int", false),
            ("at", "timestamp(ms)", false),
        ];
        assert_eq!(found, expected.map(|(name, kind, required)| (name.to_owned(), kind.to_owned(), required)));
    }

    #[test]
    fn what_is_no_column_is_quoted() {
        for wrong in ["", "ticker", "ticker text,", "a text,,b text", "\"a text", "a not null", "\"\" text"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains("is no column; write a name and a type"), "{wrong}: {error}");
        }
    }
}
