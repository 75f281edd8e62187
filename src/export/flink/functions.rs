//! Functions and aggregates that have an equal in Flink SQL, and why the best known others have none.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
};

use arrow::datatypes::DataType;

use super::expr::{Family, Writer, count_of};
use super::notes;
use super::words::type_name;

/// Aggregates: what is computed over a group. DataFusion's other names for them are here, too.
const AGGREGATES: [&str; 16] = [
    "count",
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "var",
    "var_samp",
    "var_pop",
    "var_population",
    "var_sample",
];

/// Why there is no equal, for what people use.
const REASONS: &[(&[&str], &str)] = &[
    (
        &["first_value", "last_value", "nth_value"],
        "Flink takes what arrives first or last, Windrow what is first or last in event time",
    ),
    (&["median", "percentile_cont", "quantile_cont"], "Flink has no exact percentile over a window in a stream"),
    (
        &["approx_distinct", "approx_median", "approx_percentile_cont", "approx_percentile_cont_with_weight"],
        "Flink's approximation is another one",
    ),
    (&["string_agg", "listagg", "array_agg"], "the order in Flink is that of arrival, which is not repeatable"),
    (&["bit_and", "bit_or", "bit_xor"], "Flink has no such aggregate"),
];

impl Writer<'_, '_> {
    pub(super) fn function(&mut self, whole: &Expr, function: &Function) -> String {
        let name = function.name.to_string().to_lowercase();
        if function.over.is_some() {
            return self.refuse(whole, "a window function over a closed window has no equal in a stream");
        }
        if let Some((_, why)) = REASONS.iter().find(|(names, _)| names.contains(&name.as_str())) {
            return self.refuse(whole, why);
        }
        let FunctionArguments::List(list) = &function.args else {
            return self.refuse(whole, "has no equal in Flink SQL");
        };
        if !function.within_group.is_empty() || function.null_treatment.is_some() || !list.clauses.is_empty() {
            return self.refuse(whole, "an order within an aggregate has no equal in Flink SQL");
        }
        if AGGREGATES.contains(&name.as_str()) {
            return self.aggregate(whole, &name, function, list);
        }
        match arguments(list) {
            Some(args) if list.duplicate_treatment.is_none() && function.filter.is_none() => {
                self.scalar(whole, &name, &args)
            }
            _ => self.refuse(whole, "has no equal in Flink SQL"),
        }
    }

    fn aggregate(&mut self, whole: &Expr, name: &str, function: &Function, list: &FunctionArgumentList) -> String {
        let filter = match &function.filter {
            Some(filter) => format!(" FILTER (WHERE {})", self.write(filter)),
            None => String::new(),
        };
        let distinct = match list.duplicate_treatment {
            Some(DuplicateTreatment::Distinct) => "DISTINCT ",
            _ => "",
        };
        if name == "count" && matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]) {
            return format!("COUNT(*){filter}");
        }
        let Some(args) = arguments(list) else { return self.refuse(whole, "has no equal in Flink SQL") };
        let [arg] = args.as_slice() else {
            return self.refuse(whole, "of several expressions has no equal in Flink SQL");
        };
        let kind = self.type_of(arg).cloned();
        let operand = self.typed(arg);
        match (name, self.family(arg)) {
            ("count", _) => format!("COUNT({distinct}{operand}){filter}"),
            ("sum", _) => {
                self.notes.add(match kind {
                    Some(DataType::Float64 | DataType::Float32) => notes::FLOAT_SUM,
                    _ => notes::OVERFLOW,
                });
                format!("SUM({distinct}{operand}){filter}")
            }
            ("avg" | "mean", _) => match kind {
                Some(DataType::Decimal128(..)) => {
                    self.notes.add(notes::DECIMAL_DIVISION);
                    let kind = self.type_of(whole).and_then(type_name);
                    let average = format!("AVG({distinct}{operand}){filter}");
                    kind.map_or_else(|| average.clone(), |kind| format!("CAST({average} AS {kind})"))
                }
                // Flink's mean of whole numbers is a whole number.
                _ => {
                    self.notes.add(notes::FLOAT_SUM);
                    format!("AVG({distinct}CAST({operand} AS DOUBLE)){filter}")
                }
            },
            ("min" | "max", Some(Family::Bool) | None) => self.refuse(whole, "has no equal for this type"),
            ("min" | "max", _) => format!("{}({operand}){filter}", name.to_uppercase()),
            ("bool_and" | "bool_or", _) => {
                let of = if name == "bool_and" { "MIN" } else { "MAX" };
                format!("({of}(CASE WHEN {operand} THEN 1 WHEN NOT {operand} THEN 0 END){filter} = 1)")
            }
            (
                "stddev" | "stddev_samp" | "stddev_pop" | "var" | "var_samp" | "var_sample" | "var_pop"
                | "var_population",
                _,
            ) => {
                self.notes.add(notes::FLOAT_SUM);
                let of = match name {
                    "stddev" | "stddev_samp" => "STDDEV_SAMP",
                    "stddev_pop" => "STDDEV_POP",
                    "var_pop" | "var_population" => "VAR_POP",
                    _ => "VAR_SAMP",
                };
                format!("{of}({distinct}CAST({operand} AS DOUBLE)){filter}")
            }
            _ => self.refuse(whole, "has no equal in Flink SQL"),
        }
    }

    fn scalar(&mut self, whole: &Expr, name: &str, args: &[&Expr]) -> String {
        match (name, args) {
            ("abs" | "sqrt" | "exp" | "ln" | "log10", [_]) | ("power", [_, _]) => {
                if name != "abs" {
                    self.notes.add(notes::FUNCTIONS);
                }
                self.number(whole, &name.to_uppercase(), args)
            }
            ("pow", [_, _]) => {
                self.notes.add(notes::FUNCTIONS);
                self.number(whole, "POWER", args)
            }
            ("round", [_]) => self.number(whole, "ROUND", args),
            ("round", [_, digits]) if count_of(digits).is_some() => self.number(whole, "ROUND", args),
            ("coalesce", _) | ("nullif", [_, _]) => {
                let families: Vec<_> = args.iter().filter_map(|arg| self.family(arg)).collect();
                if families.windows(2).any(|pair| pair[0] != pair[1]) {
                    return self.refuse(whole, "brings two kinds of things together; write a CAST");
                }
                self.call(&name.to_uppercase(), args)
            }
            ("upper" | "lower" | "ltrim" | "rtrim", [one]) if self.is_text(one) => {
                self.call(&name.to_uppercase(), args)
            }
            ("trim" | "btrim", [one]) if self.is_text(one) => self.call("TRIM", args),
            ("length" | "char_length" | "character_length", [one]) if self.is_text(one) => {
                format!("CAST({} AS BIGINT)", self.call("CHAR_LENGTH", args))
            }
            ("left" | "right", [one, count]) if self.is_text(one) && count_of(count).is_some() => {
                self.call(&name.to_uppercase(), args)
            }
            ("replace", [one, ..]) if args.len() == 3 && self.is_text(one) => self.call("REPLACE", args),
            // A null is nothing here, and makes all of it null in Flink.
            ("concat", [_, ..]) if args.iter().all(|arg| self.is_text(arg)) => {
                let parts: Vec<_> = args.iter().map(|arg| format!("COALESCE({}, '')", self.write(arg))).collect();
                format!("CONCAT({})", parts.join(", "))
            }
            ("strpos" | "instr", [of, part]) if self.is_text(of) => self.position(part, of),
            ("starts_with", [of, part]) if self.is_text(of) => {
                format!("(POSITION({} IN {}) = 1)", self.write(part), self.write(of))
            }
            ("substr" | "substring", [of, from]) if self.is_text(of) => self.substring(whole, of, from, None),
            ("substr" | "substring", [of, from, count]) if self.is_text(of) => {
                self.substring(whole, of, from, Some(count))
            }
            ("date_trunc", [unit, of]) => self.truncated(whole, unit, of),
            ("date_part", [part, of]) => {
                let part = part.to_string();
                self.extract(whole, part.trim_matches('\''), of)
            }
            _ => self.refuse(whole, "has no equal in Flink SQL that is sure to mean the same"),
        }
    }

    fn is_text(&self, expr: &Expr) -> bool {
        self.family(expr) == Some(Family::Text)
    }

    fn call(&mut self, function: &str, args: &[&Expr]) -> String {
        let args: Vec<_> = args.iter().map(|arg| self.write(arg)).collect();
        format!("{function}({})", args.join(", "))
    }
}

/// Whether a function is an aggregate.
pub(super) fn is_aggregate(function: &Function) -> bool {
    let name = function.name.to_string().to_lowercase();
    let refused = REASONS.iter().any(|(names, _)| names.contains(&name.as_str()));
    function.over.is_none() && (AGGREGATES.contains(&name.as_str()) || refused)
}

/// The arguments, if each is an expression without a name.
fn arguments(list: &FunctionArgumentList) -> Option<Vec<&Expr>> {
    fn one(arg: &FunctionArg) -> Option<&Expr> {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        }
    }
    list.args.iter().map(one).collect()
}
