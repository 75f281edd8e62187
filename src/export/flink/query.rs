//! The query: one SELECT over a window as one INSERT over a stream of windows.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, LimitClause, OrderByExpr, OrderByKind, Query as Ast, Select, SelectItem,
    SetExpr, Statement, TableFactor, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::expr::{Types, Writer, count_of};
use super::functions::is_aggregate;
use super::notes::{self, Notes};
use super::windows::Windows;
use super::words::{TIME, name, type_name};
use crate::config::Pipeline;
use crate::decode::column::HEADERS;
use crate::export::Refusals;
use crate::query::Query;

/// A query that was read: its text as parsed, and what is known of it.
pub(super) struct Asked {
    ast: Box<Ast>,
    types: Types,
    /// The result's columns.
    pub(super) output: SchemaRef,
    /// The stream's columns that it names.
    pub(super) names: BTreeSet<String>,
    /// The pipeline file's line that it begins on.
    first_line: usize,
}

/// The stream, as the query calls it.
const FROM: &str = "query.sql: FROM";

impl Asked {
    /// Reads a query: `written` is its text with its `${NAME}`. `None` where it has none that can be read so.
    pub(super) async fn new(
        pipeline: &Pipeline,
        written: &str,
        first_line: usize,
    ) -> Result<Option<Self>, crate::query::QueryError> {
        let Pipeline { sql, columns, tables, sql_place, .. } = pipeline;
        let query = Query::plan(sql, columns, tables).await.map_err(|error| error.at(sql_place))?;
        let names = Query::names(sql, columns, tables).await.map_err(|error| error.at(sql_place))?;
        let Ok(statements) = Parser::parse_sql(&GenericDialect {}, written) else { return Ok(None) };
        let Some(Statement::Query(mut ast)) = statements.into_iter().next() else { return Ok(None) };
        unaliased(&mut ast, &columns.schema());
        let mut types = Types::new();
        if let Some(from) = from(&ast) {
            for expr in parts(&ast) {
                let kind = Query::type_of(&format!("SELECT {expr} AS c FROM {from}"), columns).await;
                types.extend(kind.map(|kind| (expr, kind)));
            }
        }
        Ok(Some(Self { ast, types, output: query.output_schema().clone(), names, first_line }))
    }

    /// What the query calls the stream, if it reads one table and no more.
    pub(super) fn stream(&self) -> Option<String> {
        let SetExpr::Select(select) = self.ast.body.as_ref() else { return None };
        match select.from.as_slice() {
            [from] if from.joins.is_empty() => match &from.relation {
                TableFactor::Table { name, .. } => Some(name.to_string().trim_matches('"').to_owned()),
                _ => None,
            },
            _ => None,
        }
    }

    /// The INSERT; empty where something was refused.
    pub(super) fn insert(
        &self,
        windows: &Windows,
        time: &str,
        sink: &str,
        refusals: &mut Refusals<'_>,
        notes: &mut Notes,
    ) -> String {
        let writer =
            Writer { types: &self.types, first_line: self.first_line, zoned: windows.zoned(), refusals, notes };
        let Some(stream) = self.stream() else {
            return Insert { asked: self, windows, writer }.refuse_from();
        };
        Insert { asked: self, windows, writer }.write(&windows.over(&stream, time), sink)
    }
}

/// The table in FROM, with its alias.
fn from(ast: &Ast) -> Option<String> {
    match ast.body.as_ref() {
        SetExpr::Select(select) => select.from.first().map(|from| from.relation.to_string()),
        _ => None,
    }
}

/// Every expression of the query, as text.
fn parts(ast: &Ast) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    let _ = visit_expressions(ast, |expr: &Expr| {
        parts.insert(expr.to_string());
        ControlFlow::<()>::Continue(())
    });
    parts
}

/// Puts into HAVING and GROUP BY what the SELECT list calls by a name. A column of the stream goes before such a name.
fn unaliased(ast: &mut Ast, columns: &SchemaRef) {
    let SetExpr::Select(select) = ast.body.as_mut() else { return };
    let named: Vec<(String, Expr)> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.clone(), expr.clone())),
            _ => None,
        })
        .filter(|(alias, _)| columns.field_with_name(alias).is_err())
        .collect();
    let listed: Vec<Expr> = select.projection.iter().filter_map(expression).cloned().collect();
    let replace = |expr: &mut Expr| {
        if let Expr::Identifier(Ident { value, .. }) = expr
            && let Some((_, meant)) = named.iter().find(|(alias, _)| alias == value)
        {
            *expr = match meant {
                simple @ (Expr::Identifier(_) | Expr::Function(_)) => simple.clone(),
                other => Expr::Nested(Box::new(other.clone())),
            };
        }
        ControlFlow::<()>::Continue(())
    };
    if let Some(having) = &mut select.having {
        let _ = visit_expressions_mut(having, replace);
    }
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        for key in keys {
            if let Some(place) = count_of(key)
                && let Some(meant) = usize::try_from(place).ok().and_then(|place| listed.get(place.checked_sub(1)?))
            {
                *key = meant.clone();
            }
            let _ = visit_expressions_mut(key, replace);
        }
    }
}

fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

fn has_aggregate(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr: &Expr| match expr {
        Expr::Function(function) if is_aggregate(function) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// An INSERT that is being written.
struct Insert<'q, 'a, 'f> {
    asked: &'q Asked,
    windows: &'q Windows,
    writer: Writer<'a, 'f>,
}

impl Insert<'_, '_, '_> {
    fn refuse_from(self) -> String {
        let ast = &self.asked.ast;
        let line = self.writer.line(ast.as_ref());
        let why = match ast.body.as_ref() {
            SetExpr::Select(select)
                if select.from.len() > 1 || select.from.iter().any(|from| !from.joins.is_empty()) =>
            {
                "a join has no equal: after a regular one Flink no longer knows the event time, and a reference table has no \
                 versions; join where the files are read"
            }
            SetExpr::Select(_) => "only the stream itself can be read, no query within the query",
            _ => "only one SELECT can be written",
        };
        self.writer.refusals.refuse(line, FROM, why);
        String::new()
    }

    fn write(mut self, from: &str, sink: &str) -> String {
        let asked = self.asked;
        let SetExpr::Select(select) = asked.ast.body.as_ref() else { return self.refuse_from() };
        self.refuse_rest(select);
        if asked.names.contains(HEADERS) {
            let why = "Flink has headers as a map of bytes, not as text";
            self.writer.refusals.refuse(asked.first_line, format!("query.sql: {HEADERS}"), why);
        }
        let keys = match &select.group_by {
            GroupByExpr::Expressions(keys, modifiers) if modifiers.is_empty() => keys.as_slice(),
            _ => {
                let line = self.writer.line(select.as_ref());
                self.writer.refusals.refuse(line, "query.sql: GROUP BY", "write the keys out, without modifiers");
                &[]
            }
        };
        let exprs = || select.projection.iter().filter_map(expression).chain(&select.having);
        let is_grouped = !keys.is_empty() || exprs().any(has_aggregate);
        let items = self.items(select);
        let mut keys: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
        match (&select.distinct, is_grouped) {
            (Some(Distinct::Distinct), false) => keys = items.iter().map(|(_, written)| written.clone()).collect(),
            (None | Some(Distinct::All), _) => {}
            _ => {
                let line = self.writer.line(select.as_ref());
                self.writer.refusals.refuse(line, "query.sql: DISTINCT", "over groups has no equal");
            }
        }
        let is_grouped = is_grouped || matches!(select.distinct, Some(Distinct::Distinct));
        if !is_grouped {
            self.writer.notes.add(notes::ROWS);
        }
        let condition = |writer: &mut Writer<'_, '_>, word: &str, condition: &Option<Expr>| match condition {
            Some(condition) => format!("\n{word} {}", writer.write(condition)),
            None => String::new(),
        };
        let mut tail = format!("\nFROM {from}");
        tail += &condition(&mut self.writer, "WHERE", &select.selection);
        if is_grouped {
            tail += &format!(
                "\nGROUP BY {}",
                [&["window_start".to_owned(), "window_end".to_owned()], keys.as_slice()].concat().join(", ")
            );
        }
        tail += &condition(&mut self.writer, "HAVING", &select.having);
        let around = format!("CAST(window_start AS {TIME}), CAST(window_end AS {TIME})");
        let date = self.windows.date();
        let insert = format!("INSERT INTO {}\nSELECT", name(sink));
        match self.place(select) {
            None => {
                let items: Vec<_> = items.iter().map(|(_, written)| format!(",\n    {written}")).collect();
                format!("{insert} {around}{},\n    0, {date}{tail};\n", items.concat())
            }
            Some((order, place)) => {
                let outer: Vec<_> = items.iter().map(|(column, _)| format!(", {}", name(column))).collect();
                let inner: Vec<_> =
                    items.iter().map(|(column, text)| format!(",\n    {text} AS {}", name(column))).collect();
                let inner = format!("SELECT window_start, window_end{}{tail}", inner.concat());
                let number = format!("ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY {order})");
                format!(
                    "{insert} {around}{}, 0, {date}\nFROM (SELECT *, {number} AS `_place` FROM (\n{inner}))\nWHERE {place};\n",
                    outer.concat()
                )
            }
        }
    }

    /// What else a query may have, and Flink has not.
    fn refuse_rest(&mut self, select: &Select) {
        let ast = &self.asked.ast;
        let line = self.writer.line(select);
        for (there, what) in [
            (ast.with.is_some(), "WITH"),
            (ast.fetch.is_some(), "FETCH"),
            (select.top.is_some(), "TOP"),
            (select.qualify.is_some(), "QUALIFY"),
            (!select.named_window.is_empty(), "WINDOW"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (!ast.pipe_operators.is_empty(), "|>"),
        ] {
            if there {
                self.writer.refusals.refuse(
                    line,
                    format!("query.sql: {what}"),
                    "has no equal; write it with one plain SELECT",
                );
            }
        }
    }

    fn key(&mut self, key: &Expr) -> String {
        match key {
            Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => {
                self.writer.refuse(key, "only plain keys can be written")
            }
            key => self.writer.write(key),
        }
    }

    /// The SELECT list: each column's name, and the expression as the type that the files have.
    fn items(&mut self, select: &Select) -> Vec<(String, String)> {
        let mut exprs: Vec<Option<&Expr>> = Vec::new();
        let output = self.asked.output.clone();
        let others = select.projection.iter().filter(|item| expression(item).is_some()).count();
        for item in &select.projection {
            match (item, expression(item)) {
                (_, Some(expr)) => exprs.push(Some(expr)),
                // As many as the result has beside the others.
                (SelectItem::Wildcard(options), _) if options.to_string().is_empty() => {
                    exprs.extend(std::iter::repeat_n(None, output.fields().len().saturating_sub(others)));
                }
                _ => {
                    let line = self.writer.line(select);
                    self.writer.refusals.refuse(line, format!("query.sql: {item}"), "write the columns out");
                }
            }
        }
        let mut items = Vec::new();
        for (field, expr) in output.fields().iter().zip(exprs) {
            let column = field.name().clone();
            let Some(kind) = type_name(field.data_type()) else {
                let line = self.writer.line(select);
                self.writer.refusals.refuse(line, format!("query.sql: {column}"), "its type has no equal");
                continue;
            };
            let written = match expr {
                None => name(&column),
                Some(plain @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))) => self.writer.write(plain),
                Some(expr) => format!("CAST({} AS {kind})", self.writer.write(expr)),
            };
            items.push((column, written));
        }
        items
    }

    /// ORDER BY with LIMIT: the order, and which places in it are taken.
    fn place(&mut self, select: &Select) -> Option<(String, String)> {
        let ast = &self.asked.ast;
        let order = match ast.order_by.as_ref().map(|order| &order.kind) {
            None => &[],
            Some(OrderByKind::Expressions(order)) => order.as_slice(),
            Some(OrderByKind::All(_)) => {
                let line = self.writer.line(ast.as_ref());
                self.writer.refusals.refuse(line, "query.sql: ORDER BY ALL", "write the columns out");
                &[]
            }
        };
        let (limit, offset) = match &ast.limit_clause {
            None => {
                if !order.is_empty() {
                    self.writer.notes.add(notes::ORDER);
                }
                return None;
            }
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref().map(count_of), offset.as_ref().map(|offset| count_of(&offset.value)))
            }
            Some(_) => (Some(None), None),
        };
        let line = self.writer.line(ast.as_ref());
        let (Some(Some(limit)), Some(offset)) = (limit, offset.unwrap_or(Some(0))) else {
            self.writer.refusals.refuse(line, "query.sql: LIMIT", "has an equal only as a number that is written out");
            return None;
        };
        if order.is_empty() {
            self.writer.refusals.refuse(line, "query.sql: LIMIT", "without ORDER BY takes whatever comes first");
            return None;
        }
        let mut by: Vec<String> = Vec::new();
        let mut used = BTreeSet::new();
        for one in order {
            let Some(column) = self.column(select, one) else {
                self.writer.refuse(&one.expr, "ORDER BY with LIMIT goes by columns of the result only");
                continue;
            };
            let descends = one.options.asc == Some(false);
            let nulls_first = one.options.nulls_first.unwrap_or(descends);
            by.push(ordered(&column, descends, nulls_first));
            used.insert(column);
        }
        // As in Windrow: what is left open is decided by the other columns.
        let rest = self.asked.output.fields().iter().filter(|field| !used.contains(field.name()));
        by.extend(rest.map(|field| ordered(field.name(), false, false)));
        let place = match offset {
            0 => format!("`_place` <= {limit}"),
            offset => format!("`_place` > {offset} AND `_place` <= {}", offset.saturating_add(limit)),
        };
        Some((by.join(", "), place))
    }

    /// The column of the result that an ORDER BY means.
    fn column(&self, select: &Select, one: &OrderByExpr) -> Option<String> {
        let fields = self.asked.output.fields();
        if let Some(place) = count_of(&one.expr) {
            let place = usize::try_from(place).ok()?.checked_sub(1)?;
            return fields.get(place).map(|field| field.name().clone());
        }
        if let Expr::Identifier(column) = &one.expr
            && let Some(field) = fields.iter().find(|field| field.name() == &column.value)
        {
            return Some(field.name().clone());
        }
        let same = |item: &SelectItem| expression(item).is_some_and(|expr| expr.to_string() == one.expr.to_string());
        let place = select.projection.iter().position(same)?;
        let alone = select.projection.iter().all(|item| expression(item).is_some());
        fields.get(place).filter(|_| alone).map(|field| field.name().clone())
    }
}

fn ordered(column: &str, descends: bool, nulls_first: bool) -> String {
    let (way, nulls) = (if descends { "DESC" } else { "ASC" }, if nulls_first { "FIRST" } else { "LAST" });
    format!("{} {way} NULLS {nulls}", name(column))
}
