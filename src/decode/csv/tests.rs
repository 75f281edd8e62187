use super::*;
use crate::decode::column::{Column, ColumnType};
use crate::record::{Offset, Timestamp};

const KINDS: [(&str, ColumnType, bool); 4] = [
    ("at", ColumnType::Timestamp(TimestampForm::Rfc3339), false),
    ("zone", ColumnType::Text, true),
    ("fare", ColumnType::Decimal { precision: 8, scale: 2 }, false),
    ("note", ColumnType::Json, true),
];

fn columns() -> Columns {
    let declared = KINDS.iter().map(|(name, kind, optional)| Column {
        name: (*name).to_owned(),
        path: vec![(*name).to_owned()],
        kind: *kind,
        optional: *optional,
    });
    Columns { declared: declared.collect(), event_time: "at".into(), whole: Default::default() }
}

fn records(values: &[&str]) -> Records {
    let mut records = Records::new(Partition(3));
    for (offset, value) in (0..).zip(values) {
        records.push(Offset(offset), Some(Timestamp(0)), None, Some(value.as_bytes()));
    }
    records
}

/// Each record as its columns' texts, or as the class of its rejection.
fn outcomes(mut decoder: CsvDecoder, values: &[&str]) -> Vec<String> {
    let decoded = decoder.decode(records(values));
    let mut outcomes = vec![String::new(); values.len()];
    for (row, index) in decoded.rows.iter().enumerate() {
        let shown = decoded.batch.columns()[..KINDS.len()].iter().map(|column| {
            if column.is_null(row) {
                return "-".to_owned();
            }
            arrow::util::display::array_value_to_string(column, row).unwrap()
        });
        outcomes[*index as usize] = shown.collect::<Vec<_>>().join("|");
    }
    for (index, reason) in &decoded.rejected {
        outcomes[*index as usize] = format!("{}: {}", reason.class, reason.text);
    }
    outcomes
}

fn decoder(form: Form) -> CsvDecoder {
    CsvDecoder::new(&columns(), "t", form, FirstLines::default())
}

#[test]
fn without_names_the_columns_are_the_first_fields() {
    let found = outcomes(
        decoder(Form::default()),
        &[
            "2026-03-01T08:00:00Z,\"Queens, NY\",12.5,\"{\"\"a\"\":1}\",more\n",
            "2026-03-01T08:00:00Z,,12",
            "2026-03-01T08:00:00Z,\"\",12,",
            "2026-03-01T08:00:00Z,x,",
            "2026-03-01T08:00:00Z,x,free",
            "2026-03-01T08:00:00Z,\"x,1",
            "2026-03-01T08:00:00Z,x,1,{",
        ],
    );
    assert_eq!(
        found,
        [
            "2026-03-01T08:00:00Z|Queens, NY|12.50|{\"a\":1}",
            "2026-03-01T08:00:00Z|-|12.00|-",
            "2026-03-01T08:00:00Z||12.00|-",
            "missing_column: fare: the field is null",
            "wrong_type: fare: a number for decimal(8, 2) expected, found free",
            "not_csv: byte 21: a quote is not closed",
            "wrong_type: note: a JSON value expected, found {",
        ]
    );
}

#[test]
fn names_find_the_fields_whatever_their_order() {
    let names = ["fare", "id", "at", "zone"].map(str::to_owned).to_vec();
    let form = Form { delimiter: b';', null: "\\N".into(), names: Names::Given(names), ..Form::default() };
    let found = outcomes(decoder(form), &["1;7;2026-03-01T08:00:00Z;\\N", "1;7;2026-03-01T08:00:00Z;", "1;7"]);
    assert_eq!(
        found,
        [
            "2026-03-01T08:00:00Z|-|1.00|-",
            "2026-03-01T08:00:00Z||1.00|-",
            "not_csv: the record has 2 fields, where 4 have names",
        ]
    );
}

#[test]
fn a_files_first_line_names_the_fields_of_its_partition() {
    let lines = FirstLines::default();
    lines.put(Partition(3), b"\xef\xbb\xbfat,\"fare\",zone\r\n");
    let form = Form { names: Names::FirstLine, ..Form::default() };
    let decoder = CsvDecoder::new(&columns(), "t", form, lines);
    assert_eq!(outcomes(decoder, &["2026-03-01T08:00:00Z,2,x"]), ["2026-03-01T08:00:00Z|x|2.00|-"]);
}
