//! Every refusal of the pipeline file, word for word.

use super::super::kafka;
use super::wrong;

/// What is replaced, by what, and what is said.
pub(super) type Refusal = (&'static str, &'static str, &'static str);

pub(super) fn check(table: &[Refusal]) {
    for (old, new, said) in table {
        assert_eq!(&wrong(old, new), said, "{new}");
    }
}

#[test]
fn keys_are_refused_with_what_was_meant() {
    check(&[
        ("name = \"rides\"", "nam = \"rides\"\nname = \"x\"", "1: nam is not a key; did you mean \"name\"?"),
        ("name = \"rides\"", "name = \"x\"\ntopic = \"y\"", "2: topic is not a key; it belongs in [source.kafka]"),
        ("format = \"json\"", "topic = \"y\"", "3: source.topic is not a key; it belongs in [source.kafka]"),
        ("[query]", "sink = 1\n[query]", "16: window.sink is not a key; it belongs at the top of the file"),
        ("[query]", "[windows]\n[query]", "16: windows is not a key; did you mean \"window\"?"),
        (
            "size = ",
            "watermark_dely = \"1s\"\nsize = ",
            "15: window.watermark_dely is not a key; did you mean \"watermark_delay\"?",
        ),
        (
            "url = ",
            "frobnicate = 1\nurl = ",
            "21: sink.frobnicate is not a key; write \"url\", \"properties\", \"format\", \"commit_interval\", \"target_file_size\", \
             \"late_interval\" or \"late_size\"",
        ),
        (
            "fare = \"decimal(12, 2)\"",
            "fare = { type = \"int\", optinal = true }",
            "12: source.columns.fare.optinal is not a key; did you mean \"optional\"?",
        ),
        ("group = \"g\"", "group = \"g\"\ngroup = \"h\"", "8: group is given twice; keep one of them"),
        ("[query]", "[source]\n[query]", "16: source is given twice; keep one of them"),
        (
            "{ \"client.id\" = \"x\" }",
            "{ client.id = \"x\", \"client.id\" = \"y\" }",
            "9: source.kafka.properties.client.id is given twice; keep one of them",
        ),
        ("topic = \"rides\"\n", "", "4: source.kafka.topic is missing; write topic = \"rides\""),
        ("size = \"1 hour\"\n", "", "13: window.size is missing; write size = \"1 hour\""),
        (
            "sql = \"SELECT * FROM rides\"\n",
            "",
            "16: query.sql is missing; write sql = \"SELECT COUNT(*) AS rides FROM rides\"",
        ),
    ]);
}

#[test]
fn wrong_types_are_refused_with_an_example() {
    check(&[
        ("\"g\"", "7", "7: source.kafka.group must be text, not a number; write group = \"rides-hourly\""),
        (
            "topic = \"rides\"",
            "topic = [\"rides\"]",
            "6: source.kafka.topic must be text, not a list; write topic = \"rides\"",
        ),
        (
            "[query]\nsql = \"SELECT * FROM rides\"",
            "[[query]]\nsql = \"x\"",
            "16: query must be a section, not a list; write [query]\n16: [query] is missing; add a section [query]",
        ),
        (
            "fare = \"decimal(12, 2)\"",
            "fare = { type = \"int\", optional = \"yes\" }",
            "12: source.columns.fare.optional must be true or false, not text; write optional = true",
        ),
        (
            "fare = \"decimal(12, 2)\"",
            "fare = 1",
            "12: source.columns.fare must be a type; write fare = \"text\" or one of the other types",
        ),
        (
            "{ region = \"eu-west-1\" }",
            "{ region = [1] }",
            "22: sink.properties.region must be text, not a list; write \"region\" = \"…\"",
        ),
        ("zones = \"zones.csv\"", "zones = 1", "19: tables.zones must be text; write zones = \"zones.csv\""),
    ]);
}

#[test]
fn the_environment_has_no_fallbacks() {
    check(&[
        ("\"g\"", "\"${NOBODY}\"", "7: source.kafka.group: the environment has no NOBODY; set NOBODY before the start"),
        (
            "\"x\"",
            "\"${NOBODY:-secret}\"",
            "9: source.kafka.properties.client.id: ${NOBODY:-secret} is no name of the environment; write ${NAME}, or $${ for a literal ${",
        ),
        // What was put in is not shown.
        (
            "localhost:9092",
            "${SECRET}",
            "5: source.kafka.brokers = \"${SECRET}\": the environment's value does not fit; it must read like brokers = \"localhost:9092\"",
        ),
        (
            "(12, 2)",
            "(${SECRET})",
            "12: source.columns.fare = \"decimal(${SECRET})\": the environment's value does not fit; correct it there",
        ),
        (
            "\"latest\"",
            "\"${SECRET}\"",
            "8: source.kafka.start = \"${SECRET}\": the environment's value does not fit; it must read like start = \"earliest\"",
        ),
    ]);
}

#[test]
fn sources_are_refused_with_what_to_write() {
    check(&[
        ("\"json\"", "\"jsn\"", "3: source.format = \"jsn\": unknown; did you mean \"json\"?"),
        (
            "\"json\"",
            "\"avro\"",
            "2: nothing says where the schemas of avro records come from; add a section [source.registry] or \
             [source.schema]",
        ),
        (
            "\"json\"",
            "\"parquet\"",
            "3: source.format = \"parquet\": records of a topic are no Parquet files; write another format",
        ),
        (
            "\"json\"",
            "\"json\"\non_delete = \"ignore\"",
            "4: source.on_delete is for format = \"debezium\"; leave it out",
        ),
        (
            "format",
            "on_invalid = \"drop\"\nformat",
            "3: source.on_invalid = \"drop\": unknown; write \"keep\" or \"fail\"",
        ),
        (
            "format",
            "on_data_loss = \"contine\"\nformat",
            "3: source.on_data_loss = \"contine\": unknown; did you mean \"continue\"?",
        ),
        (
            "[source.columns]",
            "[source.file]\npath = \"-\"\n[source.columns]",
            "10: records come from [source.kafka] or from [source.file]; keep one of them",
        ),
        (
            "[source.kafka]\nbrokers = \"localhost:9092\"\ntopic = \"rides\"\ngroup = \"g\"\nstart = \"latest\"\nproperties = { \"client.id\" = \"x\" }\n",
            "",
            "2: nothing says where records come from; add a section [source.kafka] or [source.file]",
        ),
        (
            "localhost:9092",
            "http://localhost:9092",
            "5: source.kafka.brokers = \"http://localhost:9092\": a broker is no URL; write host:port alone",
        ),
        (
            "localhost:9092",
            "SASL_SSL://b:9092",
            "5: source.kafka.brokers = \"SASL_SSL://b:9092\": a broker is no URL; write host:port, and properties = { \"security.protocol\" = \"SASL_SSL\" }",
        ),
        (
            "localhost:9092",
            "a:9092,b",
            "5: source.kafka.brokers = \"a:9092,b\": a broker has no port; did you mean \"b:9092\"?",
        ),
        (
            "localhost:9092",
            "a:9092,",
            "5: source.kafka.brokers = \"a:9092,\": a broker has no host; write it like \"broker1:9092,broker2:9092\"",
        ),
        (
            "localhost:9092",
            "a:99999",
            "5: source.kafka.brokers = \"a:99999\": a port is a number from 1 to 65535; write it like \"broker1:9092,broker2:9092\"",
        ),
        (
            "localhost:9092",
            "::1:9092",
            "5: source.kafka.brokers = \"::1:9092\": an IPv6 address needs brackets; write it like \"[::1]:9092\"",
        ),
        (
            "localhost:9092",
            "u:hunter2@b:9092",
            "5: source.kafka.brokers: an address has no credentials; write host:port, and sasl.username and sasl.password in properties",
        ),
        (
            "topic = \"rides\"",
            "topic = \"\"",
            "6: source.kafka.topic = \"\": a topic needs a name; write the name of one topic",
        ),
        (
            "topic = \"rides\"",
            "topic = \"^rides.*\"",
            "6: source.kafka.topic = \"^rides.*\": a pattern cannot be a topic; write the name of one topic",
        ),
        (
            "topic = \"rides\"",
            "topic = \"rides,quotes\"",
            "6: source.kafka.topic = \"rides,quotes\": a topic's name has letters, digits, dots, _ and - only; write the name of one topic",
        ),
        (
            "topic = \"rides\"",
            "topic = \"..\"",
            "6: source.kafka.topic = \"..\": Kafka has no topic of that name; write the name of one topic",
        ),
        ("\"g\"", "\" \"", "7: source.kafka.group = \" \": a group needs a name; write one like \"rides-hourly\""),
        ("\"latest\"", "\"erliest\"", "8: source.kafka.start = \"erliest\": unknown; did you mean \"earliest\"?"),
        (
            "\"latest\"",
            "\"now\"",
            "8: source.kafka.start = \"now\": unknown; write \"earliest\", \"latest\" or a time like \"2026-03-01T08:00:00Z\"",
        ),
        (
            "\"latest\"",
            "\"2026-03-01\"",
            "8: source.kafka.start = \"2026-03-01\": a date without a time; write it like \"2026-03-01T08:00:00Z\" or \"2026-03-01T09:00:00+01:00\"",
        ),
        (
            "start = \"latest\"",
            "assignment = \"some\"",
            "8: source.kafka.assignment = \"some\": unknown; write \"all\" or \"group\"",
        ),
    ]);
}

#[test]
fn properties_that_windrow_owns_or_that_run_code_are_refused() {
    check(&[
        (
            "client.id",
            "bootstrap.servers",
            "9: bootstrap.servers has a key of its own; write brokers in [source.kafka]",
        ),
        (
            "client.id",
            "metadata.broker.list",
            "9: metadata.broker.list has a key of its own; write brokers in [source.kafka]",
        ),
        ("client.id", "group.id", "9: group.id has a key of its own; write group in [source.kafka]"),
        ("client.id", "auto.offset.reset", "9: auto.offset.reset has a key of its own; write start in [source.kafka]"),
        (
            "client.id",
            "enable.auto.commit",
            "9: enable.auto.commit is set by Windrow: offsets are committed after files are durable, never by the clock; leave it out",
        ),
        (
            "client.id",
            "isolation.level",
            "9: isolation.level is set by Windrow: only committed records are read, always; leave it out",
        ),
        (
            "client.id",
            "plugin.library.paths",
            "9: plugin.library.paths loads or runs code; a pipeline file may not do that; leave it out",
        ),
        (
            "client.id",
            "sasl.oauthbearer.assertion.file",
            "9: sasl.oauthbearer.assertion.file signs what it finds in a file; leave it out",
        ),
        ("client.id", "error_cb", "9: error_cb is the program's, not the user's; leave it out"),
        (
            "client.id",
            "test.mock.num.brokers",
            "9: test.mock.num.brokers is the program's, not the user's; leave it out",
        ),
        (
            "client.id",
            "sasl.pasword",
            "9: sasl.pasword is not a property of librdkafka; did you mean \"sasl.password\"?",
        ),
        (
            "client.id",
            "acks.of.nobody",
            "9: acks.of.nobody is not a property of librdkafka; librdkafka's CONFIGURATION.md has the names",
        ),
        (
            "\"client.id\" = \"x\"",
            "\"security.protocol\" = \"${SECRET}\"",
            "9: security.protocol cannot have this value; librdkafka's CONFIGURATION.md has the values it takes",
        ),
    ]);
    let refused = |name: &str| wrong("client.id", name);
    for name in kafka::tests::refused() {
        assert!(refused(name).ends_with("leave it out") || refused(name).contains("has a key of its own"), "{name}");
    }
}

#[test]
fn columns_are_refused_with_what_to_write() {
    let decimal = "; write it like \"decimal(12, 2)\": 12 digits, 2 of them after the point";
    for (kind, said) in [
        ("txt", "unknown type; did you mean \"text\"?".to_owned()),
        ("string", "unknown type; did you mean \"text\"?".to_owned()),
        ("BIGINT", "unknown type; did you mean \"int\"?".to_owned()),
        ("double", "unknown type; did you mean \"float\"?".to_owned()),
        ("array", "unknown type; did you mean \"json\"?".to_owned()),
        ("timestmp(ms)", "unknown type; did you mean \"timestamp(ms)\"?".to_owned()),
        ("text(10)", "text takes nothing in brackets; write \"text\"".to_owned()),
        ("decimal", "a decimal needs its digits; write \"decimal(12, 2)\": 12 digits, 2 of them after the point".to_owned()),
        ("decimal(12, 2", "a bracket is not closed; write it like \"decimal(12, 2)\"".to_owned()),
        ("decimal(0, 0)", format!("a decimal has 1 to 38 digits{decimal}")),
        ("decimal(39, 2)", format!("a decimal has 1 to 38 digits{decimal}")),
        ("decimal(5, 6)", format!("0 to 5 of its digits can stand after the point{decimal}")),
        ("decimal(5, -1)", format!("0 to 5 of its digits can stand after the point{decimal}")),
        ("decimal(a, b)", format!("a decimal has two whole numbers{decimal}")),
        (
            "timestamp(ns)",
            "unknown unit of a timestamp; write \"timestamp\" for RFC 3339 text, or \"timestamp(s)\", \"timestamp(ms)\" or \
             \"timestamp(us)\""
                .to_owned(),
        ),
    ] {
        assert_eq!(wrong("decimal(12, 2)", kind), format!("12: source.columns.fare = \"{kind}\": {said}"));
    }
    let every = "a column of that name; give it another: ";
    for (name, said) in [
        ("dt", "dt: the sink's folders are named dt=…, and loaders would see two columns of that name; give it another: day = { type = \"…\", path = \"dt\" }".to_owned()),
        ("window_start", format!("window_start: every result has {every}record_window_start = {{ type = \"…\", path = \"window_start\" }}")),
        ("window_end", format!("window_end: every result has {every}record_window_end = {{ type = \"…\", path = \"window_end\" }}")),
        ("_revision", format!("_revision: every result has {every}record_revision = {{ type = \"…\", path = \"_revision\" }}")),
        ("_topic", format!("_topic: every stream has {every}record_topic = {{ type = \"…\", path = \"_topic\" }}")),
        ("_key", format!("_key: every stream has {every}record_key = {{ type = \"…\", path = \"_key\" }}")),
    ] {
        assert_eq!(wrong("fare", name), format!("12: source.columns.{said}"));
    }
    check(&[
        (
            "fare = ",
            "\"\" = ",
            "12: \"\" cannot be a column's name; write a name of 1 to 200 letters\n12: source.columns.\"\": a path has a name on each side of a dot; write it like \"ride.fare.total\"",
        ),
        (
            "fare = ",
            "\"ride..fare\" = ",
            "12: source.columns.\"ride..fare\": a path has a name on each side of a dot; write it like \"ride.fare.total\"",
        ),
        (
            "fare = ",
            "ride.fare = ",
            "12: source.columns.ride.fare: a name with dots needs quotes; write \"ride.fare\" = …",
        ),
        (
            "fare = ",
            "At = ",
            "12: source.columns.At: many loaders see no difference from at; write other = { type = \"…\", path = \"At\" }",
        ),
        (
            "fare = \"decimal(12, 2)\"",
            "fare = { path = \"x\" }",
            "12: source.columns.fare.type is missing; write type = \"text\"",
        ),
        (
            "fare = \"decimal(12, 2)\"",
            "fare = { type = \"int\", path = [] }",
            "12: source.columns.fare: a path is a list of names; write path = [\"ride.v2\", \"fare\"]",
        ),
    ]);
}

#[test]
fn tumbling_refused_with_what_to_write() {
    check(&[
        ("\"1 hour\"", "\"60\"", "15: window.size = \"60\": no unit; did you mean \"60s\"?"),
        ("\"1 hour\"", "\"1 huor\"", "15: window.size = \"1 huor\": unknown unit \"huor\"; did you mean \"hour\"?"),
        ("\"1 hour\"", "\"0s\"", "15: window.size = \"0s\": a window needs a size; write \"1 hour\""),
        ("\"1 hour\"", "\"-1 hour\"", "15: window.size = \"-1 hour\": negative; write a duration of zero or more"),
        ("\"1 hour\"", "\"10ms\"", "15: window.size = \"10ms\": shorter than a second; write \"1 second\" or more"),
        (
            "\"1 hour\"",
            "\"401 days\"",
            "15: window.size = \"401 days\": longer than 400 days; write \"1 year\" or less",
        ),
        ("\"1 hour\"", "\"2 years\"", "15: window.size = \"2 years\": longer than 400 days; write \"1 year\" or less"),
        (
            "size",
            "timezone = \"Europe/Pariss\"\nsize",
            "15: window.timezone = \"Europe/Pariss\": unknown time zone; did you mean \"Europe/Paris\"?",
        ),
        (
            "size",
            "timezone = \"New York\"\nsize",
            "15: window.timezone = \"New York\": unknown time zone; did you mean \"America/New_York\"?",
        ),
        (
            "size",
            "timezone = \"Mars/Olympus Mons\"\nsize",
            "15: window.timezone = \"Mars/Olympus Mons\": unknown time zone; write a name like \"Europe/Paris\"",
        ),
        (
            "size",
            "origin = 2026-03-01\nsize",
            "15: window.origin = \"2026-03-01\": a date without a time; write it like \"2026-03-01T08:00:00Z\" or \"2026-03-01T09:00:00+01:00\"",
        ),
        (
            "size = \"1 hour\"",
            "origin = 2026-03-31T00:00:00Z\nsize = \"1 month\"",
            "15: window.origin = \"2026-03-31T00:00:00Z\": not every month has that day; write an origin on day 1 to 28",
        ),
        (
            "size",
            "watermark_delay = \"500 days\"\nsize",
            "15: window.watermark_delay = \"500 days\": too much; write \"400 days\" or less",
        ),
        (
            "size",
            "idle_timeout = \"0s\"\nsize",
            "15: window.idle_timeout = \"0s\": too little; write \"1 second\" or more",
        ),
        (
            "size",
            "allowed_lateness = \"1 month\"\nsize",
            "15: window.allowed_lateness = \"1 month\": months and years have no fixed length; write days, such as \"30 days\"",
        ),
        ("size", "emit = \"finl\"\nsize", "15: window.emit = \"finl\": unknown; did you mean \"final\"?"),
        ("size", "on_quiet = \"wait\"\nsize", "15: window.on_quiet = \"wait\": unknown; write \"advance\" or \"hold\""),
        ("\"at\"", "\"att\"", "14: window.event_time = \"att\": not a declared column; did you mean \"at\"?"),
        ("\"at\"", "\"fare\"", "14: window.event_time = \"fare\": not a timestamp; write \"at\""),
        (
            "at = \"timestamp\"",
            "at = \"date\"",
            "14: window.event_time = \"at\": not a timestamp; declare at = \"timestamp\" or \"timestamp(ms)\"",
        ),
        (
            "at = \"timestamp\"",
            "",
            "14: window.event_time = \"at\": not a declared column; declare at = \"timestamp\" in [source.columns], or write \"_timestamp\"",
        ),
        (
            "\"timestamp\"",
            "{ type = \"timestamp\", optional = true }",
            "14: window.event_time = \"at\": every record needs its event time; leave optional out of at",
        ),
    ]);
}

#[test]
fn queries_tables_and_sinks_are_refused_with_what_to_write() {
    let bare = "sink.url: an address has no credentials and no query; write s3://bucket/prefix, and the rest in properties or the AWS_… variables";
    for url in [
        "s3://AKIA:hunter2@lake/rides",
        "s3://lake/rides?secret=hunter2",
        "https://u:hunter2@minio:9000/lake",
        "s3://${SECRET}@lake/x",
    ] {
        assert_eq!(wrong("s3://lake/rides", url), format!("21: {bare}"));
    }
    check(&[
        ("SELECT * FROM rides", " ", "17: query.sql = \" \": empty; write a query such as \"SELECT * FROM rides\""),
        (
            "zones.csv",
            "zones.xlsx",
            "19: tables.zones = \"zones.xlsx\": not a table this version reads; write a path that ends with .csv or .parquet",
        ),
        ("zones = ", "\"my zones\" = ", "19: tables.my zones is no table's name; write letters, digits and _"),
        ("s3://lake/rides", "", "21: sink.url = \"\": empty; write a local folder or \"s3://bucket/prefix\""),
        (
            "s3://lake/rides",
            "gs://lake/rides",
            "21: sink.url = \"gs://lake/rides\": unknown kind of address; write a local folder or \"s3://bucket/prefix\"",
        ),
        (
            "s3://lake/rides",
            "s3a://lake/rides",
            "21: sink.url = \"s3a://lake/rides\": unknown kind of address; did you mean \"s3://lake/rides\"?",
        ),
        (
            "s3://lake/rides",
            "http://minio:9000/lake",
            "21: sink.url = \"http://minio:9000/lake\": a server is no sink; write \"s3://bucket/prefix\", and the server as properties = { endpoint = \"…\" }",
        ),
        (
            "s3://lake/rides",
            "s3:///rides",
            "21: sink.url = \"s3:///rides\": no bucket's name; write 3 to 63 small letters, digits, dots and hyphens after s3://",
        ),
        (
            "s3://lake/rides",
            "s3://lake//rides",
            "21: sink.url = \"s3://lake//rides\": not a key's prefix; write names with a single / between them",
        ),
        ("s3://lake/rides", "out", "22: region: a local folder has no properties; leave it out"),
        ("region", "reigon", "22: reigon is not a property of S3; did you mean \"region\"?"),
        ("region", "bucket", "22: bucket stands in the sink's url; leave it out"),
        (
            "region",
            "conditional_put",
            "22: conditional_put is set by Windrow: exactly-once needs a put that creates or fails; leave it out",
        ),
        (
            "url",
            "commit_interval = \"0s\"\nurl",
            "21: sink.commit_interval = \"0s\": too little; write \"100 ms\" or more",
        ),
        (
            "url",
            "target_file_size = \"64\"\nurl",
            "21: sink.target_file_size = \"64\": no unit; did you mean \"64 MiB\"?",
        ),
        (
            "url",
            "target_file_size = \"1 B\"\nurl",
            "21: sink.target_file_size = \"1 B\": too little; write \"1.0 KiB\" or more",
        ),
        ("url", "late_size = \"9 TiB\"\nurl", "21: sink.late_size = \"9 TiB\": too much; write \"1.0 GiB\" or less"),
    ]);
}

#[test]
fn what_a_format_needs_is_refused_where_it_is_wrong() {
    let csv = |lines: &str| wrong("format = \"json\"", &format!("format = \"csv\"\ncsv = {{ {lines} }}"));
    assert_eq!(
        csv("delimiter = \"||\""),
        "4: source.csv.delimiter = \"||\": not a single character of ASCII; write one like \";\" or \"\\t\""
    );
    assert_eq!(csv("quote = \",\""), "4: source.csv: delimiter and quote are the same; write two different ones");
    assert_eq!(csv("names = \"at\""), "4: source.csv.names is a list of names; write names = [\"at\", \"zone\"]");
    assert_eq!(
        csv("first_line = true"),
        "4: source.csv.first_line: a topic's records have no first line; write names = [\"at\", \"zone\"], or leave it \
         out: the columns are then the first fields"
    );
    assert_eq!(csv("nul = \"\""), "4: source.csv.nul is not a key; did you mean \"null\"?");
    let registry = |lines: &str| {
        wrong("format = \"json\"", &format!("format = \"avro\"\nregistry = {{ url = \"http://r:8081\", {lines} }}"))
    };
    assert_eq!(
        registry("username = \"u\""),
        "4: source.registry: it is not clear who asks; write username and password, or token alone"
    );
    assert_eq!(
        registry("certificate = \"c.pem\""),
        "4: source.registry: a certificate is shown with its key; write certificate and key, both PEM files"
    );
    assert_eq!(
        wrong("format = \"json\"", "format = \"avro\"\nregistry = { url = \"http://u:open-sesame@r\" }"),
        "4: source.registry.url: an address has no credentials and no query; write username and password, or token, as \
         keys of their own"
    );
    assert_eq!(
        wrong("format = \"json\"", "format = \"avro\"\nregistry = { url = \"r:8081\" }"),
        "4: source.registry.url = \"r:8081\": not an address; write it like \"https://registry:8081\""
    );
    assert_eq!(
        wrong("format = \"json\"", "schema = { file = \"a.avsc\" }"),
        "3: [source.schema] is for format = \"avro\" or \"protobuf\"; leave it out"
    );
}
