//! What loaders read differently or do not allow, as far as a pipeline file tells.
//!
//! The words and limits are those of the vendors' documentation. Files have few types, so most of what bites elsewhere
//! cannot happen here; what is left is said.

use arrow::datatypes::{DataType, Schema};

use crate::cli::terminal::grouped;
use crate::config::{Emit, Pipeline};
use crate::decode::column::ColumnType;
use crate::record::Timestamp;

const DAY: i64 = 86_400_000_000;
/// Changes of a table that BigQuery takes in a day; a load that fails counts, too.
const BIGQUERY_LOADS: i64 = 1_500;
/// Names that one COPY of Snowflake's takes.
const SNOWFLAKE_NAMES: i64 = 1_000;
/// Commits of a day from which Redshift's queue for them is felt.
const REDSHIFT_COMMITS: i64 = 1_440;
/// Characters of a column's name in Redshift, and in BigQuery.
const REDSHIFT_NAME: usize = 127;
const BIGQUERY_NAME: usize = 300;
/// Digits of BigQuery's NUMERIC before and after the point.
const NUMERIC: (i16, i16) = (29, 9);

const REDSHIFT_WORDS: &str = "aes128 aes256 all allowoverwrite analyse analyze and any array as asc authorization az64 \
    backup between binary blanksasnull both bytedict bzip2 case cast check collate column constraint create \
    credentials cross current_date current_time current_timestamp current_user current_user_id default deferrable \
    deflate defrag delta delta32k desc disable distinct do else emptyasnull enable encode encrypt encryption end \
    except explicit false for foreign freeze from full globaldict256 globaldict64k grant group gzip having identity \
    ignore ilike in initially inner intersect interval into is isnull join leading left like limit localtime \
    localtimestamp lun luns lzo lzop minus mostly13 mostly32 mostly8 natural new not notnull null nulls off offline \
    offset oid old on only open or order outer overlaps parallel partition percent permissions pivot placing primary \
    raw readratio recover references respect rejectlog resort restore right select session_user similar snapshot some \
    sysdate system table tag tdes text255 text32k then timestamp to top trailing true truncatecolumns type union \
    unique unnest unpivot user using verbose wallet when where with without";
const SNOWFLAKE_WORDS: &str = "all alter and any as between by case cast check column connect constraint create cross \
    current current_date current_time current_timestamp current_user delete distinct drop else exists false following \
    for from full grant group having ilike in increment inner insert intersect into is join lateral left like \
    localtime localtimestamp minus natural not null of on or order qualify regexp revoke right rlike row rows sample \
    select set some start table tablesample then to trigger true try_cast union unique update using values when \
    whenever where with";
const BIGQUERY_WORDS: &str = "all and any array as asc assert_rows_modified at between by case cast collate contains \
    create cross cube current default define desc distinct else end enum escape except exclude exists extract false \
    fetch following for from full group grouping groups hash having if ignore in inner intersect interval into is \
    join lateral left like limit lookup merge natural new no not null nulls of on or order outer over partition \
    preceding proto qualify range recursive respect right rollup rows select set some struct tablesample then to \
    treat true unbounded union unnest using when where window with within";
/// How no column of a BigQuery table may begin.
const BIGQUERY_PREFIXES: [&str; 6] =
    ["_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier"];

/// A loader that may be asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Loader {
    /// Amazon Redshift's COPY.
    Redshift,
    /// Snowflake's COPY and Snowpipe.
    Snowflake,
    /// BigQuery's load jobs.
    Bigquery,
}

/// Whether a name means something in one of these dialects.
pub(super) fn is_reserved(name: &str) -> bool {
    [Loader::Redshift, Loader::Snowflake, Loader::Bigquery].iter().any(|loader| loader.reserves(name))
}

impl Loader {
    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Redshift => "Redshift",
            Self::Snowflake => "Snowflake",
            Self::Bigquery => "BigQuery",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Redshift => REDSHIFT_WORDS,
            Self::Snowflake => SNOWFLAKE_WORDS,
            Self::Bigquery => BIGQUERY_WORDS,
        }
    }

    fn reserves(self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.words().split_whitespace().any(|word| word == name)
    }

    /// Everything to look at before the first load, a line each; what is no trouble is said last, so that no line is
    /// ever none.
    pub(super) fn warnings(self, pipeline: &Pipeline, schema: &Schema) -> Vec<String> {
        let mut lines = Vec::new();
        for field in schema.fields() {
            lines.extend(self.about_name(field.name()));
            lines.extend(self.about_type(field.name(), field.data_type()));
        }
        lines.extend(self.about_case(schema));
        lines.extend(self.about_json(pipeline, schema));
        lines.push(self.about_form().to_owned());
        lines.push(self.about_files(pipeline));
        lines
    }

    fn about_name(self, name: &str) -> Option<String> {
        let lower = name.to_lowercase();
        if self == Self::Bigquery && BIGQUERY_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
            return Some(format!("column {name}: no column may begin like that; give it another name with AS"));
        }
        if self.reserves(name) {
            let quotes = if self == Self::Bigquery { "`…`" } else { "\"…\"" };
            return Some(format!(
                "column {name}: a reserved word, to be written in {quotes} everywhere; AS gives another"
            ));
        }
        let longest = match self {
            Self::Redshift => REDSHIFT_NAME,
            Self::Snowflake => 255,
            Self::Bigquery => BIGQUERY_NAME,
        };
        if name.len() > longest {
            return Some(format!("column {name}: longer than the {longest} characters that are taken"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit())).then(|| {
            let what = if self == Self::Bigquery { "not taken" } else { "taken in quotes only" };
            format!("column {name}: characters that are {what}; letters, digits and _ are safe")
        })
    }

    fn about_type(self, name: &str, kind: &DataType) -> Option<String> {
        match (self, kind) {
            (Self::Bigquery, DataType::Decimal128(precision, scale)) => {
                let whole = i16::from(*precision) - i16::from(*scale);
                let fits = i16::from(*scale) <= NUMERIC.1 && whole <= NUMERIC.0;
                (!fits).then(|| {
                    format!("column {name}: decimal({precision}, {scale}) is wider than NUMERIC; load it with decimalTargetTypes [\"BIGNUMERIC\"]")
                })
            }
            (Self::Redshift, DataType::Utf8) => Some(format!(
                "column {name}: text; VARCHAR counts bytes, is 256 of them if no length is given, and a longer value fails the COPY"
            )),
            _ => None,
        }
    }

    /// Two names that only capitals tell apart.
    fn about_case(self, schema: &Schema) -> Option<String> {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().to_lowercase()).collect();
        let twice = schema.fields().iter().enumerate().find(|(at, _)| names[..*at].contains(&names[*at]));
        twice.map(|(_, field)| {
            format!("column {}: another is told from it by capitals only, which are not looked at", field.name())
        })
    }

    /// Columns that hold JSON arrive as text.
    fn about_json(self, pipeline: &Pipeline, schema: &Schema) -> Vec<String> {
        let into = match self {
            Self::Redshift => "JSON_PARSE makes a SUPER of it",
            Self::Snowflake => "PARSE_JSON makes a VARIANT of it",
            Self::Bigquery => "PARSE_JSON makes a JSON of it",
        };
        let json = pipeline.columns.declared.iter().filter(|column| column.kind == ColumnType::Json);
        json.filter(|column| schema.field_with_name(&column.name).is_ok())
            .map(|column| format!("column {}: JSON arrives as text; {into}", column.name))
            .collect()
    }

    /// How the files' types and columns are met.
    fn about_form(self) -> &'static str {
        match self {
            Self::Redshift => {
                "columns are matched by their position: the table has these, in this order, and nothing else; times are \
                 TIMESTAMP (UTC) or TIMESTAMPTZ"
            }
            Self::Snowflake => {
                "times become numbers unless the file format says USE_LOGICAL_TYPE = TRUE; they are points in time: \
                 TIMESTAMP_LTZ or _TZ, shown in the session's TIMEZONE"
            }
            Self::Bigquery => {
                "times become TIMESTAMP, decimals NUMERIC; a wildcard takes the schema of the last file by name"
            }
        }
    }

    fn about_files(self, pipeline: &Pipeline) -> String {
        // Calendar windows differ by an hour or some days, which changes nothing here.
        let window = pipeline.window.windows.assign(Timestamp(0));
        let micros = window.map_or(DAY, |window| (window.end.0 - window.start.0).max(1));
        let windows = DAY.div_euclid(micros).max(1);
        let early = pipeline.window.emit == Emit::Early;
        let files = if early { windows * 2 } else { windows };
        let most = if early { ", corrections included" } else { "" };
        let count = |count: i64| grouped(count.unsigned_abs());
        let told = format!("at least {} files a day where every window has records{most}", count(files));
        let told = if micros > DAY { "a file a window, less than one a day".to_owned() } else { told };
        match self {
            Self::Bigquery if files > BIGQUERY_LOADS => format!(
                "{told}: a load job for each is beyond the {} changes of a table that are taken in a day; load several in one job, or take \
                 longer windows",
                count(BIGQUERY_LOADS)
            ),
            Self::Snowflake if files > SNOWFLAKE_NAMES => format!(
                "{told}: one COPY takes {} names (`windrow files --format snowflake` divides them); Snowpipe is paid for by the file",
                count(SNOWFLAKE_NAMES)
            ),
            Self::Redshift if files > REDSHIFT_COMMITS => format!(
                "{told}: a COPY for each queues up behind the cluster's commits; load several by one manifest (`windrow files --format redshift`)"
            ),
            _ => format!("{told}: within what is allowed"),
        }
    }
}
