//! Which columns of the record as a whole a query asks for: what nobody asks for is not even fetched.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::decode::column::{HEADERS, VALUE};

/// What a query's text names.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// [`VALUE`].
    pub(super) value: bool,
    /// [`HEADERS`].
    pub(super) headers: bool,
}

/// What `sql` names outside of its comments and texts. Of what is no SQL, nothing: planning tells what is wrong with it.
pub(super) fn of(sql: &str) -> Asked {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let names = |column: &str| tokens.iter().any(|token| matches!(token, Token::Word(word) if word.value == column));
    Asked { value: names(VALUE), headers: names(HEADERS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_where_it_is_one() {
        for (sql, value, headers) in [
            ("SELECT * FROM t", false, false),
            ("SELECT _headers['trace'] AS trace FROM t", false, true),
            ("SELECT t._value, \"_headers\" FROM t", true, true),
            ("SELECT '_headers', x AS my_headers FROM t -- _value", false, false),
            ("SELECT COUNT(*) FILTER (WHERE _value IS NULL) AS n FROM t", true, false),
            ("SELECT 'not closed", false, false),
        ] {
            assert_eq!(of(sql), Asked { value, headers }, "{sql}");
        }
    }
}
