//! What to do with each field of a record of one schema: pass it over, give it to columns, or look into it.

use super::schema::{At, Schema, Shape};
use crate::decode::column::Column;

/// What to do with the fields of a record, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) fields: Vec<Field>,
    /// Columns that the record has no field for.
    pub(super) absent: Vec<usize>,
}

/// What to do with one field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) kind: At,
    /// Columns that read its value.
    pub(super) columns: Vec<usize>,
    /// Columns that read what is in it.
    pub(super) within: Option<Within>,
}

/// What columns read of what is in a field.
#[derive(Clone, Debug)]
pub(super) struct Within {
    /// All of them.
    pub(super) columns: Vec<usize>,
    /// The plan of each record that may stand there: one, or the branches of a union.
    pub(super) records: Vec<(At, Plan)>,
}

impl Plan {
    /// The plan for these columns over a schema that is a record.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn new(schema: &Schema, columns: &[Column]) -> Result<Self, String> {
        let Shape::Record(fields) = &schema.get(schema.root).shape else {
            return Err("its schema is not of a record".to_owned());
        };
        Ok(Self::of(schema, fields, columns, (0..columns.len()).collect(), 0))
    }

    /// Calls itself as deep as declared paths go.
    fn of(schema: &Schema, fields: &[(String, At)], columns: &[Column], wanted: Vec<usize>, depth: usize) -> Self {
        let mut plan = Self::default();
        let mut found = vec![false; columns.len()];
        for (name, kind) in fields {
            let here = wanted.iter().copied().filter(|&column| columns[column].path[depth] == *name);
            let (leaves, below): (Vec<_>, Vec<_>) = here.partition(|&column| columns[column].path.len() == depth + 1);
            for &column in leaves.iter().chain(&below) {
                found[column] = true;
            }
            let within = (!below.is_empty()).then(|| {
                let records = branches(schema, *kind).into_iter().filter_map(|branch| {
                    let Shape::Record(fields) = &schema.get(branch).shape else { return None };
                    Some((branch, Self::of(schema, fields, columns, below.clone(), depth + 1)))
                });
                Within { records: records.collect(), columns: below.clone() }
            });
            plan.fields.push(Field { kind: *kind, columns: leaves, within });
        }
        plan.absent = wanted.into_iter().filter(|&column| !found[column]).collect();
        plan
    }
}

fn branches(schema: &Schema, kind: At) -> Vec<At> {
    match &schema.get(kind).shape {
        Shape::Union(branches) => branches.clone(),
        _ => vec![kind],
    }
}
