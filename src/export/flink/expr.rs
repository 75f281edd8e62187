//! One expression of the query in Flink's SQL. What means something else there is written so that it means the same, is
//! noted where that is not possible to the last digit, or is refused.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator as Op, CaseWhen, CastKind, CeilFloorKind, DateTimeField as Field, Expr, Spanned, TypedString,
    UnaryOperator, Value,
};

use super::notes::{self, Notes};
use super::words::{TIME, name, text, type_name};
use crate::export::Refusals;
use crate::time::text as written;

/// The types of the query's expressions, by their text.
pub(super) type Types = BTreeMap<String, DataType>;

/// Writes expressions, and notes and refuses along the way.
pub(super) struct Writer<'a, 'f> {
    pub(super) types: &'a Types,
    /// The pipeline file's line that the query begins on.
    pub(super) first_line: usize,
    /// Whether the session follows another calendar than UTC's.
    pub(super) zoned: bool,
    pub(super) refusals: &'a mut Refusals<'f>,
    pub(super) notes: &'a mut Notes,
}

/// What is compared and computed alike.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Number,
    Text,
    Bool,
    Time,
    Date,
}

/// A place holder for what was refused: the script is not written then.
const REFUSED: &str = "NULL";

impl Writer<'_, '_> {
    /// Refuses an expression, with its line.
    pub(super) fn refuse(&mut self, expr: &Expr, why: &str) -> String {
        let mut shown = expr.to_string();
        if let Some((at, _)) = shown.char_indices().nth(60) {
            shown.truncate(at);
            shown += " …";
        }
        let line = self.line(expr);
        self.refusals.refuse(line, format!("query.sql: {shown}"), why);
        REFUSED.to_owned()
    }

    /// The pipeline file's line of a part of the query.
    pub(super) fn line(&self, part: &impl Spanned) -> usize {
        let line = usize::try_from(part.span().start.line).unwrap_or(1);
        self.first_line + line.saturating_sub(1)
    }

    pub(super) fn type_of(&self, expr: &Expr) -> Option<&DataType> {
        self.types.get(&expr.to_string())
    }

    pub(super) fn family(&self, expr: &Expr) -> Option<Family> {
        match self.type_of(expr)? {
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Some(Family::Text),
            DataType::Boolean => Some(Family::Bool),
            DataType::Date32 => Some(Family::Date),
            DataType::Timestamp(..) => Some(Family::Time),
            kind if kind.is_numeric() => Some(Family::Number),
            _ => None,
        }
    }

    pub(super) fn is_int(&self, expr: &Expr) -> bool {
        self.type_of(expr).is_some_and(DataType::is_integer)
    }

    /// The expression, as the type that Windrow gives it.
    pub(super) fn typed(&mut self, expr: &Expr) -> String {
        let written = self.write(expr);
        match self.type_of(expr).and_then(type_name) {
            Some(kind) if !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {
                format!("CAST({written} AS {kind})")
            }
            _ => written,
        }
    }

    /// The expression.
    pub(super) fn write(&mut self, expr: &Expr) -> String {
        match expr {
            Expr::Identifier(column) => name(&column.value),
            Expr::CompoundIdentifier(parts) => parts.last().map_or_else(String::new, |column| name(&column.value)),
            Expr::Nested(inner) => format!("({})", self.write(inner)),
            Expr::Value(value) => self.value(expr, &value.value),
            Expr::TypedString(typed) => self.typed_string(expr, typed),
            Expr::IsNull(inner) => self.is(inner, "NULL"),
            Expr::IsNotNull(inner) => self.is(inner, "NOT NULL"),
            Expr::IsTrue(inner) => self.is(inner, "TRUE"),
            Expr::IsNotTrue(inner) => self.is(inner, "NOT TRUE"),
            Expr::IsFalse(inner) => self.is(inner, "FALSE"),
            Expr::IsNotFalse(inner) => self.is(inner, "NOT FALSE"),
            Expr::IsUnknown(inner) => self.is(inner, "UNKNOWN"),
            Expr::IsNotUnknown(inner) => self.is(inner, "NOT UNKNOWN"),
            Expr::IsDistinctFrom(left, right) => self.compared(expr, left, "IS DISTINCT FROM", right),
            Expr::IsNotDistinctFrom(left, right) => self.compared(expr, left, "IS NOT DISTINCT FROM", right),
            Expr::InList { expr: one, list, negated } => {
                let list: Vec<_> = list.iter().map(|each| self.beside(expr, one, each)).collect();
                format!("{} {}IN ({})", self.write(one), not(*negated), list.join(", "))
            }
            Expr::Between { expr: one, negated, low, high } => {
                let (low, high) = (self.beside(expr, one, low), self.beside(expr, one, high));
                format!("({} {}BETWEEN {low} AND {high})", self.write(one), not(*negated))
            }
            Expr::Like { negated, any: false, expr: one, pattern, escape_char } => {
                self.like(expr, *negated, one, pattern, escape_char.as_ref().map(|escape| &escape.value))
            }
            Expr::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            Expr::UnaryOp { op: UnaryOperator::Not, expr: inner } => format!("NOT ({})", self.write(inner)),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } if matches!(**inner, Expr::Value(_)) => {
                format!("-{}", self.write(inner))
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => format!("-({})", self.write(inner)),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr: inner } => self.write(inner),
            Expr::Case { operand, conditions, else_result, .. } => {
                let mut out = "CASE".to_owned();
                if let Some(operand) = operand {
                    out += &format!(" {}", self.write(operand));
                }
                for CaseWhen { condition, result } in conditions {
                    let condition = match operand {
                        Some(operand) => self.beside(expr, operand, condition),
                        None => self.write(condition),
                    };
                    out += &format!(" WHEN {condition} THEN {}", self.write(result));
                }
                if let Some(result) = else_result {
                    out += &format!(" ELSE {}", self.write(result));
                }
                out + " END"
            }
            Expr::Cast { kind, expr: inner, array: false, format: None, .. } => self.cast(expr, kind, inner),
            Expr::Extract { field, expr: inner, .. } => self.extract(expr, &field.to_string(), inner),
            Expr::Ceil { expr: inner, field: CeilFloorKind::DateTimeField(Field::NoDateTime) } => {
                self.number(expr, "CEIL", &[inner])
            }
            Expr::Floor { expr: inner, field: CeilFloorKind::DateTimeField(Field::NoDateTime) } => {
                self.number(expr, "FLOOR", &[inner])
            }
            Expr::Position { expr: part, r#in } => self.position(part, r#in),
            Expr::Substring { expr: of, substring_from: Some(from), substring_for, special: _, .. } => {
                self.substring(expr, of, from, substring_for.as_deref())
            }
            Expr::Trim { trim_where: None, trim_what: None, expr: inner, trim_characters: None } => {
                format!("TRIM({})", self.write(inner))
            }
            Expr::Function(function) => self.function(expr, function),
            _ => self.refuse(expr, "has no equal in Flink SQL"),
        }
    }

    fn is(&mut self, inner: &Expr, what: &str) -> String {
        format!("({}) IS {what}", self.write(inner))
    }

    fn value(&mut self, expr: &Expr, value: &Value) -> String {
        match value {
            Value::Number(number, _) if !number.contains(['e', 'E', '_']) => number.to_string(),
            Value::Number(..) => self.refuse(expr, "write the number with all its digits"),
            Value::SingleQuotedString(value) => text(value),
            Value::Boolean(value) => value.to_string().to_uppercase(),
            Value::Null => "NULL".to_owned(),
            _ => self.refuse(expr, "has no equal in Flink SQL; write it in single quotes"),
        }
    }

    fn typed_string(&mut self, expr: &Expr, typed: &TypedString) -> String {
        let Value::SingleQuotedString(value) = &typed.value.value else {
            return self.refuse(expr, "write it in single quotes");
        };
        match self.family(expr) {
            Some(Family::Date) => self.date(expr, value),
            Some(Family::Time) => self.time(expr, value),
            _ => self.refuse(expr, "only DATE '…' and TIMESTAMP '…' have an equal"),
        }
    }

    fn date(&mut self, expr: &Expr, value: &str) -> String {
        let is_date = value.len() == 10 && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if is_date { format!("DATE '{value}'") } else { self.refuse(expr, "write a date like 2026-03-01") }
    }

    /// A point in time; without an offset it is UTC's.
    fn time(&mut self, expr: &Expr, value: &str) -> String {
        let value = value.trim().replacen(' ', "T", 1);
        let value = if value.len() == 10 { format!("{value}T00:00:00") } else { value };
        let has_offset = value.get(19..).is_some_and(|rest| rest.contains(['Z', 'z', '+', '-']));
        let value = if has_offset { value } else { format!("{value}Z") };
        match written::time(&value) {
            Ok(time) if time.0 % 1000 == 0 => format!("TO_TIMESTAMP_LTZ({}, 3)", time.0 / 1000),
            Ok(_) => self.refuse(expr, "Flink's event time tells milliseconds at most"),
            Err(_) => self.refuse(expr, "write a time like 2026-03-01T08:00:00Z"),
        }
    }

    /// What stands beside another expression: a text beside a time is a time.
    fn beside(&mut self, whole: &Expr, other: &Expr, expr: &Expr) -> String {
        let (there, here) = (self.family(other), self.family(expr));
        let quoted = match expr {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(value) => Some(value),
                _ => None,
            },
            _ => None,
        };
        match (there, quoted) {
            (Some(Family::Time), Some(value)) => self.time(expr, value),
            (Some(Family::Date), Some(value)) => self.date(expr, value),
            _ if there.is_some() && here.is_some() && there != here => {
                let why = "compares two kinds of things, which the two engines bring together in different ways; write \
                           a CAST, DATE '…' or TIMESTAMP '…'";
                self.refuse(whole, why)
            }
            _ => self.write(expr),
        }
    }

    fn compared(&mut self, whole: &Expr, left: &Expr, op: &str, right: &Expr) -> String {
        // The checks of both directions: which side the text stands on does not matter.
        let (left, right) = match left {
            Expr::Value(_) => (self.beside(whole, right, left), self.write(right)),
            _ => (self.write(left), self.beside(whole, left, right)),
        };
        format!("{left} {op} {right}")
    }

    fn binary(&mut self, whole: &Expr, left: &Expr, op: &Op, right: &Expr) -> String {
        let sign = match op {
            Op::And | Op::Or => return format!("{} {op} {}", self.write(left), self.write(right)),
            Op::Eq => "=",
            Op::NotEq => "<>",
            Op::Lt => "<",
            Op::LtEq => "<=",
            Op::Gt => ">",
            Op::GtEq => ">=",
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo => {
                return self.arithmetic(whole, left, op, right);
            }
            Op::StringConcat if self.family(left) == Some(Family::Text) && self.family(right) == Some(Family::Text) => {
                return format!("{} || {}", self.write(left), self.write(right));
            }
            Op::StringConcat => return self.refuse(whole, "write a CAST to text on both sides of ||"),
            _ => return self.refuse(whole, "this operator has no equal in Flink SQL"),
        };
        self.compared(whole, left, sign, right)
    }

    fn arithmetic(&mut self, whole: &Expr, left: &Expr, op: &Op, right: &Expr) -> String {
        if [left, right].iter().any(|side| self.family(side).is_some_and(|family| family != Family::Number)) {
            return self.refuse(whole, "arithmetic on times and texts has no equal that is sure to mean the same");
        }
        if [left, right].iter().any(|side| matches!(side, Expr::Interval(_))) {
            return self.refuse(whole, "arithmetic on times has no equal that is sure to mean the same");
        }
        let is_decimal = matches!(self.type_of(whole), Some(DataType::Decimal128(..) | DataType::Decimal256(..)));
        let (left, right) = (self.write(left), self.write(right));
        match op {
            Op::Modulo => {
                self.notes.add(notes::DIVISION);
                format!("MOD({left}, {right})")
            }
            Op::Divide => {
                self.notes.add(notes::DIVISION);
                match self.type_of(whole).and_then(type_name) {
                    Some(kind) => {
                        if is_decimal {
                            self.notes.add(notes::DECIMAL_DIVISION);
                        }
                        format!("CAST({left} / {right} AS {kind})")
                    }
                    None => format!("{left} / {right}"),
                }
            }
            _ => {
                self.notes.add(notes::OVERFLOW);
                format!("{left} {op} {right}")
            }
        }
    }

    fn like(&mut self, whole: &Expr, negated: bool, one: &Expr, pattern: &Expr, escape: Option<&Value>) -> String {
        let Expr::Value(value) = pattern else {
            return self.refuse(whole, "a pattern that is computed has no equal that is sure to mean the same");
        };
        let Value::SingleQuotedString(pattern) = &value.value else {
            return self.refuse(whole, "write the pattern in single quotes");
        };
        if escape.is_some() {
            return self.refuse(whole, "ESCAPE has no equal that is sure to mean the same");
        }
        // A backslash escapes here; in Flink nothing does unless it is said.
        let escape = if pattern.contains('\\') { " ESCAPE '\\'" } else { "" };
        format!("{} {}LIKE {}{escape}", self.write(one), not(negated), text(pattern))
    }

    fn cast(&mut self, whole: &Expr, kind: &CastKind, inner: &Expr) -> String {
        let word = match kind {
            CastKind::Cast | CastKind::DoubleColon => "CAST",
            CastKind::TryCast | CastKind::SafeCast => "TRY_CAST",
        };
        let Some(target) = self.type_of(whole).and_then(type_name) else {
            return self.refuse(whole, "this type has no equal");
        };
        let is_decimal = matches!(self.type_of(inner), Some(DataType::Decimal128(..)));
        let is_exact = self.is_int(inner) || is_decimal;
        let (from, to) = (self.family(inner), self.family(whole));
        let allowed = match (from, to) {
            (Some(from), Some(to)) if from == to => true,
            (Some(Family::Number), Some(Family::Text)) => is_exact,
            (Some(Family::Text), Some(Family::Number | Family::Date)) => {
                if word == "CAST" {
                    self.notes.add(notes::CAST);
                }
                true
            }
            (Some(Family::Time), Some(Family::Date)) => !self.zoned,
            (None, Some(_)) => matches!(inner, Expr::Value(_)),
            _ => false,
        };
        if !allowed {
            return self.refuse(whole, "this cast has no equal that is sure to mean the same");
        }
        if let (Expr::Value(value), Some(Family::Time)) = (inner, to)
            && let Value::SingleQuotedString(value) = &value.value
        {
            return self.time(whole, value);
        }
        format!("{word}({} AS {target})", self.write(inner))
    }

    /// A part of a time.
    pub(super) fn extract(&mut self, whole: &Expr, part: &str, inner: &Expr) -> String {
        if self.zoned {
            return self.refuse(whole, notes::ZONED);
        }
        let part = part.to_uppercase();
        let of_day = ["YEAR", "QUARTER", "MONTH", "DAY", "DOY"].contains(&part.as_str());
        match self.family(inner) {
            Some(Family::Time) if of_day || ["HOUR", "MINUTE"].contains(&part.as_str()) => {}
            Some(Family::Date) if of_day => {}
            _ => return self.refuse(whole, "this part of a time has no equal that is sure to mean the same"),
        }
        let inner = self.write(inner);
        format!("CAST(EXTRACT({part} FROM {inner}) AS BIGINT)")
    }

    /// A function of numbers, as the type that Windrow gives it.
    pub(super) fn number(&mut self, whole: &Expr, function: &str, args: &[&Expr]) -> String {
        if args.iter().any(|arg| self.family(arg) != Some(Family::Number)) {
            return self.refuse(whole, "takes numbers only");
        }
        let written: Vec<_> = args.iter().map(|arg| self.write(arg)).collect();
        let call = format!("{function}({})", written.join(", "));
        match self.type_of(whole).and_then(type_name) {
            Some(kind) => format!("CAST({call} AS {kind})"),
            None => call,
        }
    }

    pub(super) fn position(&mut self, part: &Expr, of: &Expr) -> String {
        format!("CAST(POSITION({} IN {}) AS BIGINT)", self.write(part), self.write(of))
    }

    pub(super) fn substring(&mut self, whole: &Expr, of: &Expr, from: &Expr, count: Option<&Expr>) -> String {
        let sound = count_of(from).is_some_and(|from| from > 0) && count.is_none_or(|count| count_of(count).is_some());
        if !sound {
            return self.refuse(whole, "has an equal only from a place of 1 or more that is written out");
        }
        let count = count.map(|count| format!(" FOR {}", self.write(count))).unwrap_or_default();
        format!("SUBSTRING({} FROM {}{count})", self.write(of), self.write(from))
    }

    /// A time cut to a unit.
    pub(super) fn truncated(&mut self, whole: &Expr, unit: &Expr, inner: &Expr) -> String {
        if self.zoned {
            return self.refuse(whole, notes::ZONED);
        }
        let unit = unit.to_string().trim_matches('\'').to_uppercase();
        let known = ["SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "QUARTER", "YEAR"].contains(&unit.as_str());
        if !known || self.family(inner) != Some(Family::Time) {
            return self.refuse(whole, "this unit has no equal that is sure to mean the same");
        }
        format!("CAST(FLOOR({} TO {unit}) AS {TIME})", self.write(inner))
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

/// The whole number that is written there.
pub(super) fn count_of(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.to_string().parse().ok(),
            _ => None,
        },
        _ => None,
    }
}
