//! How large a query may be. DataFusion goes through a query by recursion, a few kilobytes of stack for each level; so
//! planning has a stack of its own, and what is deeper than running it can bear is refused.

use std::thread;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::{QueryError, internal};

/// Names, keywords and operators that a query may have: no level of nesting comes without one.
const WORDS: usize = 4_000;
/// How deep expressions and subqueries may lie in one another: `a OR b OR c` is two deep.
const LEVELS: usize = 500;
/// Bytes of stack for planning; only what is used is ever given. At most 67 kB for each word.
const STACK: usize = 256 << 20;

/// Refuses a query of more words than planning can bear. Values in lists do not count.
pub(super) fn few_words(sql: &str) -> std::result::Result<(), QueryError> {
    // What cannot be told apart here, the parser tells better.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    let counts = |token: &&Token| {
        !matches!(
            token,
            Token::Whitespace(_)
                | Token::Comma
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::LParen
                | Token::RParen
                | Token::EOF
        )
    };
    let words = tokens.iter().filter(counts).count();
    if words <= WORDS {
        return Ok(());
    }
    let text = format!(
        "it has {words} words, {WORDS} are the most; write long lists of values as IN (…), or put them into a table of \
         [tables] and join it"
    );
    Err(QueryError::Invalid(text))
}

/// Refuses a plan whose parts lie deeper in one another than can be run.
pub(super) fn not_too_deep(plan: &LogicalPlan) -> std::result::Result<(), QueryError> {
    let levels = levels(plan).map_err(internal)?;
    if levels <= LEVELS {
        return Ok(());
    }
    let text = format!(
        "its expressions or joins lie {levels} deep in one another, {LEVELS} is the most; write x = 1 OR x = 2 OR … as x \
         IN (1, 2, …)"
    );
    Err(QueryError::Invalid(text))
}

/// The most levels of a plan. Recursion only into subqueries: the parser lets few of them lie in one another.
fn levels(plan: &LogicalPlan) -> Result<usize> {
    let mut deepest = 0;
    let mut waiting = vec![(plan, 1)];
    while let Some((plan, level)) = waiting.pop() {
        deepest = deepest.max(level);
        waiting.extend(plan.inputs().into_iter().map(|input| (input, level + 1)));
        plan.apply_expressions(|expr| {
            deepest = deepest.max(level + levels_of(expr)?);
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(deepest)
}

fn levels_of(expr: &Expr) -> Result<usize> {
    let mut deepest = 0;
    let mut waiting = vec![(expr, 1)];
    while let Some((expr, level)) = waiting.pop() {
        deepest = deepest.max(level);
        let subquery = match expr {
            Expr::ScalarSubquery(subquery) => Some(subquery),
            Expr::InSubquery(inside) => Some(&inside.subquery),
            Expr::Exists(exists) => Some(&exists.subquery),
            _ => None,
        };
        if let Some(subquery) = subquery {
            deepest = deepest.max(level + levels(&subquery.subquery)?);
        }
        expr.apply_children(|child| {
            waiting.push((child, level + 1));
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(deepest)
}

/// Does `work` on a thread with a stack that is deep enough for every query of [`WORDS`].
pub(super) async fn on_a_deep_stack<T, F>(work: F) -> std::result::Result<T, QueryError>
where
    T: Send + 'static,
    F: AsyncFnOnce() -> std::result::Result<T, QueryError> + Send + 'static,
{
    let failed = |why: String| QueryError::Internal(format!("cannot plan: {why}"));
    let (done, outcome) = tokio::sync::oneshot::channel();
    let plan = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(work()),
            Err(error) => Err(QueryError::Internal(format!("cannot plan: {error}"))),
        };
        // Whoever asked may have gone.
        let _ = done.send(outcome);
    };
    let thread = thread::Builder::new().name("windrow-plan".to_owned()).stack_size(STACK).spawn(plan);
    thread.map_err(|error| failed(error.to_string()))?;
    outcome.await.map_err(|_| failed("the thread that plans has ended".to_owned()))?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Pipeline;
    use crate::decode::Decode;
    use crate::decode::json::JsonDecoder;
    use crate::query::Query;
    use crate::record::{Offset, Partition, Records};

    fn pipeline() -> Pipeline {
        let text = "name = \"t\"\n[source.file]\npath = \"t\"\n[source.columns]\na = \"int\"\nat = \"timestamp\"\n\
                    [window]\nevent_time = \"at\"\nsize = \"1 hour\"\n[query]\nsql = \"SELECT a FROM t\"\n[sink]\nurl = \"s\"\n";
        Pipeline::parse(text, "t.toml", &|_| None).unwrap()
    }

    async fn plan(sql: &str) -> std::result::Result<Query, QueryError> {
        Query::plan(sql, &pipeline().columns, &BTreeMap::new()).await
    }

    fn many(count: usize, between: &str, one: impl Fn(usize) -> String) -> String {
        (0..count).map(one).collect::<Vec<_>>().join(between)
    }

    #[tokio::test]
    async fn whatever_is_too_long_or_too_deep_is_an_error_and_overflows_no_stack() {
        let too_many = "words, 4000 are the most";
        let too_deep = "500 is the most";
        let condition = |condition: &str| format!("SELECT COUNT(*) AS n FROM t WHERE {condition}");
        let equals = |value: usize| format!("a = {value}");
        let parens = |depth: usize| condition(&format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth)));
        let cases = [
            (condition(&many(100_000, " OR ", equals)), too_many),
            (condition(&many(5_000, " OR ", equals)), too_many),
            (condition(&many(600, " OR ", equals)), too_deep),
            // Just few enough words, and as deep as these can be.
            (format!("SELECT SUM(1{}) AS n FROM t", "+1".repeat(3_900)), too_deep),
            (parens(10_000), "recursion limit exceeded"),
            (condition(&format!("{} a = 1", "NOT ".repeat(3_900))), "sql parser error"),
            (condition(&format!("a = {}1", "- ".repeat(3_900))), ""),
            (
                format!("{}SELECT a FROM t{}", "SELECT a FROM (".repeat(300), ") AS u".repeat(300)),
                "recursion limit exceeded",
            ),
        ];
        for (sql, expected) in cases {
            let error = plan(&sql).await.err().map(|error| error.to_string());
            let shown: String = sql.chars().take(60).collect();
            assert!(error.as_ref().is_some_and(|error| error.contains(expected)), "{shown}: {error:?}");
        }
        // Whether these are deep is up to how they are planned.
        let unions = many(200, " UNION ALL ", |_| "SELECT a FROM t".to_owned());
        let joins = (0..40).map(|index| format!(" JOIN t AS u{index} ON t.a = u{index}.a")).collect::<String>();
        for sql in [unions, format!("SELECT t.a FROM t{joins}")] {
            let error = plan(&sql).await.err().map(|error| error.to_string());
            assert!(error.as_ref().is_none_or(|error| error.starts_with("query: ")), "{error:?}");
        }
    }

    /// The rows that a query gives for one record, on this thread.
    async fn rows(sql: &str, record: &str) -> usize {
        let query = plan(sql).await.unwrap();
        let mut records = Records::new(Partition(0));
        records.push(Offset(0), None, None, Some(record.as_bytes()));
        let decoded = JsonDecoder::new(&pipeline().columns, "t").decode(records);
        assert_eq!(decoded.rows.len(), 1, "{:?}", decoded.rejected);
        let prepared = query.prepare(&decoded.batch).unwrap();
        let mut partial = query.partial();
        let passed: Vec<u32> = (0..u32::try_from(prepared.passed.len()).unwrap()).collect();
        partial.add(&prepared, &passed).unwrap();
        let result = query.close(vec![partial.snapshot().unwrap().batches]).await.unwrap();
        result.iter().map(|batch| batch.num_rows()).sum()
    }

    #[tokio::test]
    async fn what_is_just_let_through_runs_on_a_thread_like_any_other() {
        let record = r#"{"a": 299, "at": "2026-03-01T08:00:00Z"}"#;
        let equals = |value: usize| format!("a * {value} = a * 299");
        let conditions = many(300, " OR ", equals);
        assert_eq!(rows(&format!("SELECT a FROM t WHERE {conditions}"), record).await, 1);
        assert_eq!(rows(&format!("SELECT a, COUNT(*) AS n FROM t GROUP BY a HAVING {conditions}"), record).await, 1);
        let values = many(20_000, ", ", |value| value.to_string());
        assert_eq!(rows(&format!("SELECT a FROM t WHERE a IN ({values})"), record).await, 1);
        let nested = format!("SELECT {}a{} AS n FROM t", "(".repeat(20), ")".repeat(20));
        assert_eq!(rows(&nested, record).await, 1);
    }
}
