"""Holds Windrow against DuckDB: the same records, two programs, one answer.

DuckDB reads the generated records as text and decides about each of them by itself, from DESIGN's definitions: what
cannot be read, on time, late or too late by the record's own partition. What it gets for every window must be what it
then finds in the sinks, row by row.

    duckdb_check.py WINDROW [--brokers HOST:PORT] [--s3-endpoint URL --s3-bucket NAME --s3-folder DIR]

Over a file first. With brokers also over a topic of three partitions, killed twenty times while records keep coming.
With an S3 server that sink is a bucket, and DIR is where the server keeps that bucket's objects as plain files. The
server's keys are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import duckdb

HOUR, MINUTE = 3_600_000_000, 60_000_000
DELAY, LATENESS = 10 * MINUTE, 2 * HOUR
PARTITIONS = 3
KILLS = 20

QUERY = """
SELECT pickup_location, SUM(total_amount) AS revenue, COUNT(*) AS rides,
       MIN(total_amount) AS lowest, MAX(total_amount) AS highest
FROM   rides
WHERE  payment_type = 'card'
GROUP  BY pickup_location
"""

PIPELINE = """
name = "rides"
{source}
[source.columns]
dropoff_at      = "timestamp"
pickup_location = "text"
total_amount    = "decimal(12, 2)"
payment_type    = {{ type = "text", optional = true }}
[window]
event_time       = "dropoff_at"
size             = "1 hour"
watermark_delay  = "10 minutes"
allowed_lateness = "2 hours"
emit             = "{emit}"
idle_timeout     = "1 hour"
[query]
sql = \"\"\"{query}\"\"\"
[sink]
url = "{sink}"
commit_interval = "300ms"
{properties}
"""

COLUMNS = "pickup_location, revenue::DECIMAL(38, 2), rides::BIGINT, lowest::DECIMAL(12, 2), highest::DECIMAL(12, 2)"


def truth(db, partitions):
    """What becomes of each line, and each window's rows, if line n is record n // partitions of partition n % partitions."""
    db.execute(
        f"""
        CREATE OR REPLACE TABLE judged AS
        WITH read AS (
            SELECT n, n % {partitions} AS partition, n // {partitions} AS "offset", line,
                   CASE WHEN json_valid(line) THEN epoch_us(TRY_CAST(line ->> 'dropoff_at' AS TIMESTAMPTZ)) END AS happened,
                   CASE WHEN json_valid(line) THEN line ->> 'pickup_location' END AS pickup_location,
                   CASE WHEN json_valid(line) THEN TRY_CAST(line ->> 'total_amount' AS DECIMAL(12, 2)) END AS total_amount,
                   CASE WHEN json_valid(line) THEN line ->> 'payment_type' END AS payment_type
            FROM lines
        ), readable AS (
            SELECT *, happened IS NOT NULL AND pickup_location IS NOT NULL AND total_amount IS NOT NULL AS valid,
                   happened - happened % {HOUR} + {HOUR} AS window_end
            FROM read
        ), seen AS (
            SELECT *, max(CASE WHEN valid THEN happened END) OVER before - {DELAY} AS watermark
            FROM readable
            WINDOW before AS (PARTITION BY partition ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        )
        SELECT *, CASE WHEN NOT valid THEN 'invalid'
                       WHEN window_end + {LATENESS} <= watermark THEN 'too_late'
                       WHEN window_end <= watermark THEN 'late'
                       ELSE 'on_time' END AS fate,
               payment_type IS NOT DISTINCT FROM 'card' AS passes
        FROM seen
        """
    )
    for table, fates in (("first", "'on_time'"), ("whole", "'on_time', 'late'")):
        db.execute(
            f"""
            CREATE OR REPLACE TABLE {table} AS
            SELECT window_end - {HOUR} AS start, pickup_location, sum(total_amount)::DECIMAL(38, 2) AS revenue,
                   count(*) AS rides, min(total_amount) AS lowest, max(total_amount) AS highest
            FROM judged WHERE fate IN ({fates}) AND passes GROUP BY ALL
            """
        )
    db.execute("CREATE OR REPLACE TABLE corrected AS SELECT DISTINCT window_end - %d AS start FROM judged WHERE fate = 'late'" % HOUR)
    db.execute("CREATE OR REPLACE TABLE corrections AS SELECT * FROM whole WHERE start IN (SELECT start FROM corrected)")


def found(db, folder):
    """The rows that a glob over `folder` finds, as table `found`; how many files there are."""
    files = sorted(str(path) for path in pathlib.Path(folder).glob("dt=*/*.parquet"))
    if not files:
        db.execute("CREATE OR REPLACE TABLE found AS SELECT * FROM whole LIMIT 0")
        return 0
    db.execute(
        f"""
        CREATE OR REPLACE TABLE found_as_is AS
        SELECT * FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true, filename = true)
        """
    )
    strange = db.execute("SELECT count(*) FROM found_as_is WHERE dt::DATE <> (window_start AT TIME ZONE 'UTC')::DATE").fetchone()[0]
    twice = db.execute("SELECT count(*) FROM (SELECT window_start FROM found_as_is GROUP BY 1 HAVING count(DISTINCT filename) > 1)").fetchone()[0]
    if strange or twice:
        fail(f"{folder}: {strange} rows under another day, {twice} windows in two files")
    db.execute(f"CREATE OR REPLACE TABLE found AS SELECT epoch_us(window_start) AS start, {COLUMNS} FROM found_as_is")
    return len(files)


def same(db, what, expected):
    """Fails unless table `found` holds the rows of `expected`, no more and no fewer."""
    for one, other, word in ((expected, "found", "missing or different"), ("found", expected, "not in DuckDB's answer")):
        rows = db.execute(f"SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other} ORDER BY ALL LIMIT 3").fetchall()
        if rows:
            fail(f"{what}: {word}: {rows}")


def partly(db, what, expected):
    """Fails unless every window in `found` has exactly the rows of `expected`."""
    db.execute(f"CREATE OR REPLACE TABLE so_far AS SELECT * FROM {expected} WHERE start IN (SELECT start FROM found)")
    same(db, what, "so_far")


def kept(db, what, folder, fate):
    """Fails unless `folder` holds the records of this fate as they came."""
    expected = db.execute(f"SELECT count(*) FROM judged WHERE fate = '{fate}'").fetchone()[0]
    files = list(pathlib.Path(folder).glob("dt=*/*.parquet"))
    rows = equal = 0
    if files:
        rows, equal = db.execute(
            f"""
            SELECT count(*), count(*) FILTER (j.fate = '{fate}' AND decode(k.value) = j.line)
            FROM read_parquet('{folder}/*/*.parquet') k
            LEFT JOIN judged j ON j.partition = k.partition AND j."offset" = k."offset" - {{first}}
            """.format(first=kept.first)
        ).fetchone()
    if not expected == rows == equal:
        fail(f"{what}: {expected} {fate} records, {rows} kept, {equal} of them as they came")


kept.first = 0


def newest(folder):
    """The newest entry of the log."""
    entries = sorted(pathlib.Path(folder, "_windrow/log").glob("*.json"))
    return json.loads(entries[-1].read_text()) if entries else None


def balanced(totals):
    return totals["read"] == totals["aggregated"] + totals["filtered"] + totals["too_late"] + sum(totals["invalid"].values())


def counts(db, what, folder):
    totals = newest(folder)["totals"]
    if not balanced(totals):
        fail(f"{what}: read is not aggregated + filtered + too_late + invalid: {totals}")
    expected = db.execute(
        """
        SELECT count(*), count(*) FILTER (fate IN ('on_time', 'late') AND passes),
               count(*) FILTER (fate IN ('on_time', 'late') AND NOT passes), count(*) FILTER (fate = 'late'),
               count(*) FILTER (fate = 'too_late'), count(*) FILTER (fate = 'invalid')
        FROM judged
        """
    ).fetchone()
    names = ("read", "aggregated", "filtered", "late", "too_late")
    counted = tuple(totals[name] for name in names) + (sum(totals["invalid"].values()),)
    if expected != counted:
        fail(f"{what}: {names + ('invalid',)}: DuckDB has {expected}, the log {counted}")
    return dict(zip(names + ("invalid",), counted))


def judge(db, what, folder, early):
    files = found(db, f"{folder}/data")
    same(db, f"{what}: data", "first" if early else "whole")
    rows = db.execute("SELECT count(*) FROM found").fetchone()[0]
    if early:
        files += found(db, f"{folder}/corrections")
        same(db, f"{what}: corrections", "corrections")
        rows += db.execute("SELECT count(*) FROM found").fetchone()[0]
    kept(db, what, f"{folder}/late", "too_late")
    kept(db, what, f"{folder}/invalid", "invalid")
    totals = counts(db, what, folder)
    if newest(folder)["windows"]:
        fail(f"{what}: windows are still open")
    if not (rows and totals["late"] and totals["too_late"] and totals["invalid"]):
        fail(f"{what}: this shows nothing: {rows} rows, {totals}")
    said = ", ".join(f"{name} {count}" for name, count in totals.items())
    print(f"DuckDB agrees: {what}: {files} files, {rows} rows; {said}", flush=True)


def windrow(*arguments, **options):
    done = subprocess.run([options_of.binary, "--quiet", *map(str, arguments)], stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        fail(f"windrow {' '.join(map(str, arguments))}: exit code {done.returncode}")


def over_file(db, work, lines):
    kept.first = 1
    truth(db, 1)
    for emit in ("final", "early"):
        sink = work / f"file-{emit}"
        source = f"[source.file]\npath = \"{lines}\""
        pipeline = work / f"file-{emit}.toml"
        pipeline.write_text(PIPELINE.format(source=source, emit=emit, query=QUERY, sink=sink, properties=""))
        windrow("run", "--close-all", pipeline)
        windrow("audit", sink, stdout=subprocess.DEVNULL)
        judge(db, f"over a file, emit = {emit}", sink, emit == "early")


class Feeder(threading.Thread):
    """Keeps sending, line n as record n // PARTITIONS of partition n % PARTITIONS, until told to hurry."""

    def __init__(self, brokers, topic, lines):
        super().__init__(daemon=True)
        import confluent_kafka.admin

        self.topic, self.lines, self.hurry, self.failed = topic, lines, threading.Event(), []
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": brokers})
        for made in admin.create_topics([confluent_kafka.admin.NewTopic(topic, PARTITIONS, 1)]).values():
            made.result(30)
        self.producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 20})

    def run(self):
        def delivered(error, _):
            if error:
                self.failed.append(error)

        for number, line in enumerate(self.lines):
            while True:
                try:
                    self.producer.produce(self.topic, line, partition=number % PARTITIONS, on_delivery=delivered)
                    break
                except BufferError:
                    self.producer.poll(0.1)
            if number % 2000 == 0 and not self.hurry.is_set():
                self.producer.poll(0)
                time.sleep(0.4)
        self.producer.flush(60)


def over_kafka(db, work, lines, arguments):
    import confluent_kafka

    kept.first = 0
    truth(db, PARTITIONS)
    seed = arguments.seed if arguments.seed is not None else int(time.time())
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    topic = f"duckdb-{time.time_ns()}"
    if arguments.s3_endpoint:
        sink, folder = f"s3://{arguments.s3_bucket}/{topic}", pathlib.Path(arguments.s3_folder, topic)
        settings = [f"endpoint={arguments.s3_endpoint}", f"region={arguments.s3_region}"]
        properties = "properties = {{ endpoint = \"{}\", region = \"{}\" }}".format(arguments.s3_endpoint, arguments.s3_region)
    else:
        sink = folder = work / "kafka"
        settings, properties = [], ""
    source = f"[source.kafka]\nbrokers = \"{arguments.brokers}\"\ntopic = \"{topic}\"\ngroup = \"{topic}\""
    pipeline = work / "kafka.toml"
    pipeline.write_text(PIPELINE.format(source=source, emit="final", query=QUERY, sink=sink, properties=properties))

    feeder = Feeder(arguments.brokers, topic, pathlib.Path(lines).read_bytes().splitlines())
    feeder.start()
    offsets = confluent_kafka.Consumer({"bootstrap.servers": arguments.brokers, "group.id": topic})
    partitions = [confluent_kafka.TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    looks = 0
    for _ in range(KILLS):
        running = subprocess.Popen([arguments.windrow, "--quiet", "run", pipeline], stdin=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.1, 2.5))
        if running.poll() is not None:
            fail(f"windrow run ended by itself with {running.returncode}")
        for moment in ("alive", "killed"):
            if moment == "killed":
                running.kill()
                running.wait()
            committed = offsets.committed(partitions, timeout=30)
            entry = newest(folder)
            for partition in committed:
                claimed = entry["partitions"][str(partition.partition)]["to"] if partition.offset >= 0 else 0
                if partition.offset > claimed:
                    fail(f"partition {partition.partition}: Kafka stands at {partition.offset}, the log at {claimed}")
            if entry and not balanced(entry["totals"]):
                fail(f"read is not aggregated + filtered + too_late + invalid: {entry['totals']}")
            looks += found(db, f"{folder}/data") > 0
            partly(db, f"{moment}, in between", "whole")
    feeder.hurry.set()
    feeder.join()
    if feeder.failed:
        fail(f"records that did not reach the topic: {feeder.failed[0]}")
    windrow("run", "--once", "--close-all", pipeline)
    windrow("audit", sink, *(word for setting in settings for word in ("--property", setting)), stdout=subprocess.DEVNULL)
    judge(db, f"over Kafka{' to S3' if arguments.s3_endpoint else ''}, killed {KILLS} times, right at {looks} looks", folder, False)


def fail(text):
    print(f"DuckDB does not agree: {text}", file=sys.stderr)
    raise SystemExit(1)


options_of = argparse.Namespace(binary="")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("windrow")
    parser.add_argument("--brokers")
    parser.add_argument("--s3-endpoint")
    parser.add_argument("--s3-bucket")
    parser.add_argument("--s3-region", default="us-east-1")
    parser.add_argument("--s3-folder")
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    options_of.binary = arguments.windrow
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        lines = work / "rides.jsonl"
        share = ("--late", "3%", "--broken", "0.5%")
        windrow("generate", "rides", "--records", arguments.records, *share, "--seed", 20, "--out", lines)
        db = duckdb.connect()
        db.execute("SET TimeZone = 'UTC'")
        db.execute(
            f"""
            CREATE TABLE lines AS
            SELECT unnest(range(len(all_lines))) AS n, unnest(all_lines) AS line
            FROM (SELECT string_split(rtrim(content, chr(10)), chr(10)) AS all_lines FROM read_text('{lines}'))
            """
        )
        over_file(db, work, lines)
        if arguments.brokers:
            over_kafka(db, work, lines, arguments)


main()
