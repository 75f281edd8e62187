//! Every published row compared by a reader that shares no code with Windrow: DuckDB, through a Python that has it.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::support::place::Place;
use crate::support::truth::{Rows, Truth};

/// The comparison: both ways, so that no row is missing, none is other, and none is there twice.
const COMPARE: &str = r#"
import sys, duckdb
folder = sys.argv[1]
rows = 0
for part in ("data", "corrections"):
    duckdb.sql(f"""
        CREATE OR REPLACE TABLE found AS
        SELECT epoch_us(window_start) AS start, pickup_location AS zone, (revenue * 100)::BIGINT AS cents, rides,
               (lowest * 100)::BIGINT AS lowest, (highest * 100)::BIGINT AS highest, _revision AS revision
        FROM read_parquet('{folder}/{part}/*/*.parquet')""")
    duckdb.sql(f"""
        CREATE OR REPLACE TABLE truth AS SELECT * FROM read_csv('{folder}/{part}.csv', header = true, columns = {{
        'start': 'BIGINT', 'zone': 'VARCHAR', 'cents': 'BIGINT', 'rides': 'BIGINT', 'lowest': 'BIGINT',
        'highest': 'BIGINT', 'revision': 'INTEGER'}})""")
    for one, other in (("truth", "found"), ("found", "truth")):
        odd = duckdb.sql(f"SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other} ORDER BY ALL LIMIT 3").fetchall()
        if odd:
            sys.exit(f"{part}: only in {one}: {odd}")
    rows += duckdb.sql("SELECT count(*) FROM found").fetchall()[0][0]
print(f"DuckDB compared {rows} rows with the truth: equal")
"#;

/// What DuckDB says of all results, if `WINDROW_TORTURE_DUCKDB` names a Python that has it. `dir` is for copies of them.
///
/// # Panics
/// If it finds a row that is missing, other or twice.
pub(crate) fn compare(place: &Place, truth: &Truth, dir: &Path) -> String {
    let Ok(python) = std::env::var("WINDROW_TORTURE_DUCKDB") else {
        return "left out: WINDROW_TORTURE_DUCKDB names no Python with DuckDB".to_owned();
    };
    for (folder, windows, revision) in [("data", &truth.on_time, 0), ("corrections", &truth.corrections(), 1)] {
        for key in place.keys(folder, ".parquet") {
            let copy = dir.join(&key);
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::write(copy, place.get(&key)).unwrap();
        }
        std::fs::write(dir.join(folder).with_extension("csv"), csv(windows.iter(), revision)).unwrap();
    }
    let said = Command::new(python).args(["-c", COMPARE]).arg(dir).output().unwrap();
    assert!(said.status.success(), "DuckDB finds: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

fn csv<'a>(windows: impl Iterator<Item = (&'a i64, &'a Rows)>, revision: i32) -> String {
    let mut text = "start,zone,cents,rides,lowest,highest,revision\n".to_owned();
    for (start, rows) in windows {
        for (zone, group) in rows {
            let zone = zone.replace('"', "\"\"");
            let numbers = [group.cents, group.rides, group.lowest, group.highest].map(|number| number.to_string());
            writeln!(text, "{start},\"{zone}\",{},{revision}", numbers.join(",")).unwrap();
        }
    }
    text
}
