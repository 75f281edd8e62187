#!/usr/bin/env python3
"""Runs what `windrow export flink` writes on real Flink, over the topic that Windrow reads, and compares the rows.

    python3 -m venv venv && venv/bin/pip install duckdb confluent-kafka
    venv/bin/python .ci/flink_check.py target/release/windrow --brokers localhost:9092 --work DIR [--only CASE,CASE]

Flink comes from PyPI (apache-flink and apache-flink-libraries), the jars from Maven Central by the list at the head of the
scripts: a gigabyte in DIR, kept there for the next time. Needs Java 17 and Maven. Not part of .ci/run for its size.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

FLINK = "2.3.0"
START = datetime(2026, 3, 28, tzinfo=timezone.utc)

COLUMNS = """
at = "timestamp"
id = "int"
zone = { type = "text", path = "ride.zone" }
fare = { type = "decimal(10, 2)", path = "ride.fare.total" }
km = { type = "float", path = "ride.km", optional = true }
seats = { type = "int", optional = true }
shared = "bool"
day = "date"
paid_at = { type = "timestamp(ms)", optional = true }
"""

# name: query, and what differs from the usual file.
CASES = {
    "aggregates": dict(
        sql="""SELECT zone, COUNT(*) AS rides, COUNT(km) AS measured, COUNT(DISTINCT seats) AS kinds, SUM(fare) AS revenue,
               SUM(CASE WHEN shared THEN 1 ELSE 0 END) AS shared, SUM(fare) FILTER (WHERE seats > 2) AS large,
               AVG(seats) AS seats, MIN(fare) AS least, MAX(day) AS day, MIN(zone || '!') AS called, MAX(paid_at) AS paid,
               BOOL_AND(shared) AS all_shared, BOOL_OR(shared) AS any_shared, SUM(seats) / COUNT(*) AS whole,
               MIN(day) FILTER (WHERE NOT shared) AS first_day
               FROM rides WHERE fare >= 1.5 AND zone <> 'nowhere' AND at < '2026-03-31' GROUP BY zone HAVING rides > 1""",
    ),
    "keys": dict(
        sql="""SELECT UPPER(LEFT(zone, 2)) AS prefix, shared, CASE WHEN fare > 20 THEN 'much' ELSE 'little' END AS much,
               SUM(fare * 2 - 1) AS twice, SUM(id % 7) AS rest, COUNT(*) AS n FROM rides AS r
               WHERE (zone LIKE 'z%' OR zone IN ('Ä', 'b''c')) AND r.seats IS NOT NULL GROUP BY prefix, shared, 3""",
    ),
    "functions": dict(
        sql="""SELECT EXTRACT(HOUR FROM at) AS hour, date_part('month', day) AS month, COALESCE(seats, 0) AS seats,
               date_trunc('minute', at) AS minute, CAST(fare AS BIGINT) AS round, ABS(id - 100) AS away, ROUND(km, 1) AS km,
               FLOOR(km) AS low, CEIL(fare) AS high, LENGTH(zone) AS letters, SUBSTR(zone, 2, 3) AS part, STRPOS(zone, 'o') AS o,
               CONCAT(zone, NULLIF(zone, 'Ä'), '.') AS joined, REPLACE(zone, 'o', '0') AS zeros, TRIM(zone) AS trimmed,
               starts_with(zone, 'z') AS z, CAST(id AS TEXT) AS text, fare BETWEEN 2 AND 20 AS fair, -fare AS minus,
               CAST(at AS DATE) AS date, SQRT(km) AS root, day = '2026-03-28' AS first, km IS DISTINCT FROM 1.5 AS other
               FROM rides""",
    ),
    "everything": dict(sql="SELECT * FROM rides"),
    "distinct": dict(sql="SELECT DISTINCT zone, day FROM rides"),
    "top": dict(
        sql="""SELECT zone, seats, COUNT(*) AS n, SUM(fare) AS revenue FROM rides GROUP BY zone, seats
               ORDER BY n DESC, 2 LIMIT 3 OFFSET 1""",
        window='size = "6 hours"\norigin = "1970-01-01T01:30:00Z"',
    ),
    "week": dict(sql="SELECT COUNT(*) AS n FROM rides", window='size = "1 week"'),
    "hop": dict(sql="SELECT zone, COUNT(*) AS n FROM rides GROUP BY zone", window='size = "1 hour"\nevery = "20 minutes"'),
    "hop-apart": dict(
        sql="SELECT zone, SUM(fare) AS fare FROM rides GROUP BY zone",
        window='size = "2 days"\nevery = "1 day"\ntimezone = "America/New_York"',
    ),
    # The night of the 29th has 23 hours there.
    "paris": dict(
        sql="SELECT zone, COUNT(*) AS n, SUM(fare) AS revenue FROM rides GROUP BY zone",
        window='size = "1 day"\ntimezone = "Europe/Paris"',
    ),
    "kafka-time": dict(
        sql="SELECT _partition, COUNT(*) AS n, MIN(_offset) AS first, MAX(_key) AS key FROM rides GROUP BY _partition",
        window='size = "100 hours"',
        event_time="_timestamp",
    ),
    "raw": dict(
        sql="SELECT _key, _value, _offset FROM records", source='format = "raw"', columns="", event_time="_timestamp"
    ),
    "csv": dict(
        sql="SELECT zone, SUM(fare) AS fare, COUNT(seats) AS seats, MAX(paid) AS paid FROM rides GROUP BY zone",
        source='format = "csv"\ncsv = { names = ["id", "at", "more", "zone", "fare", "seats", "paid"], delimiter = ";" }',
        columns="""at = "timestamp(s)"\nzone = "text"\nfare = "decimal(10, 2)"
seats = { type = "int", optional = true }\npaid = { type = "timestamp(us)", optional = true }\n""",
        topic="csv",
    ),
    # emit = "early" without late records is what Flink does anyway.
    "early": dict(sql="SELECT zone, COUNT(*) AS n FROM rides GROUP BY zone", window='size = "30 minutes"\nemit = "early"'),
}


def records(rng):
    """Of four partitions: JSON, CSV and the broker's time, in whole milliseconds; some of them broken."""
    for number in range(6000):
        at = START + timedelta(seconds=number * 36 - rng.randrange(500), milliseconds=rng.randrange(1000))
        zone = rng.choice(["zoo", "zone", "Ä", "b'c", " nowhere ", "nowhere", "日本"])
        fraction = rng.choice(["", f".{at.microsecond // 1000:03}", f".{at.microsecond // 1000:03}999"])
        offset = rng.choice([0, 0, 60, -570])
        local = (at + timedelta(minutes=offset)).strftime(rng.choice(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]))
        sign = "-" if offset < 0 else "+"
        spelled = "Z" if offset == 0 else f"{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
        fare, seats, paid = rng.randrange(5000), rng.choice([1, 2, 3, 4, None]), rng.choice([None, at])
        record = {
            "at": local + fraction + spelled, "id": number, "shared": rng.random() < 0.3, "seats": seats,
            "day": at.date().isoformat(), "unread": {"a": [1, 2]},
            "ride": {"zone": zone, "km": rng.choice([None, rng.randrange(100) / 4]), "fare": {"total": fare / 100, "x": 1}},
            "paid_at": paid and int(paid.timestamp()) * 1000 + paid.microsecond // 1000,
        }
        seconds = f"{int(at.timestamp())}.{at.microsecond // 1000:03}"
        micros = "" if paid is None else f"{int(paid.timestamp())}{paid.microsecond // 1000:03}123"
        line = f'{number};{seconds};x;"{zone}";{fare / 100};{"" if seats is None else seats};{micros}'
        broken = rng.random()
        if broken < 0.01:
            # Without any of these, they would move the watermark a year on.
            del record[rng.choice(["shared", "day"])]
            record["at"] = "2027-02-01T00:00:00Z"
            line = f"{number};1800000000;x;zoo;no fare;1;"
        elif broken < 0.02:
            record["ride"]["fare"]["total"] = rng.choice([None, "much", []])
            line = f"{number};not a time;x;zoo;1;1;"
        elif broken < 0.03:
            record, line = "}{", ""
        value = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False)
        yield number % 4, f"k{number % 10}" if number % 3 else None, value, line, int(at.timestamp() * 1000)


def produce(brokers, topics):
    admin = AdminClient({"bootstrap.servers": brokers})
    # Their records are older than what a broker keeps.
    new = [NewTopic(topic, 4, config={"retention.ms": "-1"}) for topic in topics.values()]
    for made in admin.create_topics(new).values():
        made.result(30)
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 50, "enable.idempotence": True})
    for partition, key, value, line, at in records(random.Random(7)):
        for kind, text in (("json", value), ("csv", line)):
            producer.produce(topics[kind], text.encode(), key, partition, timestamp=at)
        producer.poll(0)
    assert producer.flush(60) == 0
    return admin


def pipeline(name, case, topics, brokers, out):
    return f"""name = "{name}"
[source]
{case.get("source", 'format = "json"')}
[source.kafka]
brokers = "{brokers}"
topic = "{topics[case.get("topic", "json")]}"
group = "{name}"
[source.columns]
{case.get("columns", COLUMNS)}
[window]
event_time = "{case.get("event_time", "at")}"
{case.get("window", 'size = "1 hour"')}
watermark_delay = "20 minutes"
[query]
sql = '''
{case["sql"]}
'''
[sink]
url = "{out / name}"
"""


def flink_home(work, head):
    """Flink with the jars that the script's head names."""
    home = work / "flink" / "pyflink"
    if not home.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", home.parent]
        subprocess.run([*pip, f"apache-flink=={FLINK}", f"apache-flink-libraries=={FLINK}"], check=True)
    # The gateway, which the SQL client stands on, is not in PyPI's package.
    wanted = [(f"org.apache.flink:flink-sql-gateway:{FLINK}", "opt")]
    for block, folder in re.findall(r"into (?:Flink's )?(lib|plugins/[\w-]+)/:\n((?:--   \S+\n)+)", head):
        wanted += [(jar, block) for jar in re.findall(r"--   (\S+)", folder)]
    for jar, folder in wanted:
        if not list((home / folder).glob(f"{jar.split(':')[1]}-*.jar")):
            goal = ["org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy", f"-Dartifact={jar}"]
            subprocess.run(["mvn", "-q", "-B", *goal, f"-DoutputDirectory={home / folder}"], check=True)
    for script in (home / "bin").glob("*"):
        script.chmod(0o755)
    return home


def run_flink(home, work, script, seconds, more=""):
    conf = work / "conf"
    shutil.rmtree(conf, ignore_errors=True)
    conf.mkdir()
    for file in (home / "conf").glob("log4j*"):
        shutil.copy(file, conf)
    # Everything in one process, with one slot; an error ends the job instead of beginning it again.
    (conf / "config.yaml").write_text(f"""execution.target: local
parallelism.default: 1
table.dml-sync: true
taskmanager.numberOfTaskSlots: 1
taskmanager.memory.managed.size: 64m
taskmanager.memory.network.min: 32m
taskmanager.memory.network.max: 32m
restart-strategy.type: none
rest.address: localhost
rest.bind-address: localhost
rest.port: 0
io.tmp.dirs: {work / "tmp"}
execution.checkpointing.dir: file://{work / "checkpoints"}
{more}""")
    (work / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {
        "FLINK_HOME": str(home), "FLINK_CONF_DIR": str(conf), "FLINK_LOG_DIR": str(work),
        "JVM_ARGS": "-Xmx1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    }
    client = [home / "bin" / "sql-client.sh", "-f", script]
    began = time.monotonic()
    # A job that fails leaves threads that keep the client.
    with open(work / "flink.out", "w+") as out:
        process = subprocess.Popen(client, env=environment, stdout=out, stderr=out, start_new_session=True)
        while process.poll() is None and time.monotonic() - began < seconds:
            if "[ERROR]" in (work / "flink.out").read_text():
                break
            time.sleep(1)
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()
    text = (work / "flink.out").read_text()
    if "[ERROR]" in text or process.returncode != 0:
        print(text[-4000:])
        sys.exit("Flink failed; its log is in " + str(work))
    return time.monotonic() - began


def compare(name, out):
    """The differing rows of one case."""
    db = duckdb.connect()
    db.sql("SET timezone = 'UTC'")
    db.sql(f"CREATE VIEW ours AS FROM read_parquet('{out / name}/data/**/*.parquet', hive_partitioning = false)")
    db.sql(f"CREATE VIEW theirs AS FROM read_parquet('{out / name}-flink/data/**/part-*', hive_partitioning = false)")
    days = "SELECT DISTINCT regexp_extract(file, 'dt=([^/]*)', 1) FROM glob('{}') ORDER BY ALL"
    columns = []
    for column, kind, *_ in db.sql("DESCRIBE ours").fetchall():
        # Flink has milliseconds.
        cut = f"date_trunc('millisecond', ours.\"{column}\")"
        columns.append(f'{cut} AS "{column}"' if "TIME ZONE" in kind else f'ours."{column}"')
    listed = ", ".join(columns)
    db.sql(f"CREATE VIEW left_rows AS SELECT {listed} FROM ours")
    casts = ", ".join(
        f'CAST(theirs."{column}" AS {kind}) AS "{column}"' for column, kind, *_ in db.sql("DESCRIBE ours").fetchall()
    )
    db.sql(f"CREATE VIEW right_rows AS SELECT {casts} FROM theirs")
    assert [row[0] for row in db.sql("DESCRIBE ours").fetchall()] == [row[0] for row in db.sql("DESCRIBE theirs").fetchall()]
    assert db.sql(days.format(f"{out / name}/data/**/*.parquet")).fetchall() == db.sql(days.format(f"{out / name}-flink/data/**/part-*")).fetchall()
    rows = db.sql("SELECT COUNT(*) FROM left_rows").fetchall()[0][0]
    only_ours = db.sql("SELECT * FROM left_rows EXCEPT ALL SELECT * FROM right_rows").fetchall()
    only_theirs = db.sql("SELECT * FROM right_rows EXCEPT ALL SELECT * FROM left_rows").fetchall()
    return rows, only_ours, only_theirs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("windrow")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--edit", default="", help="an s/old/new/ over the scripts, to see that a difference shows")
    parser.add_argument("--seconds", type=int, default=1500)
    args = parser.parse_args()
    work = args.work.absolute()
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    stamp = int(time.time())
    topics = {"json": f"flink-json-{stamp}", "csv": f"flink-csv-{stamp}"}
    admin = produce(args.brokers, topics)
    cases = {name: case for name, case in CASES.items() if not args.only or name in args.only.split(",")}
    scripts = []
    for name, case in cases.items():
        file = work / f"{name}.toml"
        file.write_text(pipeline(name, case, topics, args.brokers, out))
        run = [args.windrow, "run", file, "--once", "--close-all", "--quiet"]
        subprocess.run(run, check=True)
        export = [args.windrow, "export", "flink", file, "--once"]
        script = subprocess.run(export, check=True, capture_output=True, text=True).stdout
        (work / f"{name}.sql").write_text(script)
        if args.edit:
            _, old, new, _ = args.edit.split("/")
            assert old in script, f"{old} is not in {name}.sql"
            script = script.replace(old, new)
        # One session for all: tables and views of the stream bear one name in many of them.
        script = re.sub(r"`(rides|records)_topic`", rf"`\1_topic_{name}`", script)
        scripts.append(script.replace("VIEW `", "VIEW `v_"))
        scripts[-1] = re.sub(r"(TUMBLE|HOP)\(TABLE `", r"\1(TABLE `v_", scripts[-1])
        view = re.search(r"VIEW `(\w+)`", scripts[-1]).group(1)
        scripts[-1] += f"DROP TEMPORARY VIEW `{view}`;\n"
    (work / "all.sql").write_text("\n".join(scripts))
    home = flink_home(work, "".join(scripts))
    took = run_flink(home, work, work / "all.sql", args.seconds)
    failed = 0
    for name in cases:
        rows, only_ours, only_theirs = compare(name, out)
        same = not only_ours and not only_theirs
        failed += not same
        print(f"{name}: {rows:,} rows, {'the same' if same else 'NOT the same'}")
        for side, differing in (("Windrow", only_ours), ("Flink", only_theirs)):
            for row in sorted(map(str, differing))[:4]:
                print(f"  only {side}: {row}")
    for gone in admin.delete_topics(list(topics.values())).values():
        gone.result(30)
    print(f"{len(cases) - failed} of {len(cases)} cases have the same rows; Flink took {took:.0f} s")
    sys.exit(1 if failed else 0)


main()
