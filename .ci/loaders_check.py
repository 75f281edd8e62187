"""Runs the statements that README gives for warehouses, as they stand there, over first results and corrections.

    loaders_check.py WINDROW [--clickhouse]

DuckDB by its Python package, which takes the place of its command line. With --clickhouse those for ClickHouse, too, by
the package chdb, which is the server's engine inside this process; it takes half a gigabyte, so .ci/run leaves it out.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import duckdb

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"

PIPELINE = """
name = "trips"
[source]
format = "json"
[source.file]
path = "trips.jsonl"
[source.columns]
at   = "timestamp"
zone = "text"
fare = "decimal(10, 2)"
[window]
event_time       = "at"
size             = "1 hour"
watermark_delay  = "10 minutes"
allowed_lateness = "2 hours"
emit             = "early"
[query]
sql = "SELECT zone, SUM(fare) AS revenue, COUNT(*) AS trips FROM trips GROUP BY zone"
[sink]
url = "out/trips"
"""

# README's example of time: the first three close a window, the others bring what corrects it.
FIRST = [("10:05", "north", 10), ("11:05", "north", 12), ("10:50", "north", 20), ("11:20", "north", 8)]
LATER = [("10:59", "south", 5), ("13:15", "north", 9), ("10:30", "north", 7), ("13:20", "north", "free")]
RESULT_0 = [("10:00", "north", "30.00", 2, 0)]
RESULT_1 = [("10:00", "north", "30.00", 2, 1), ("10:00", "south", "5.00", 1, 1), ("11:00", "north", "20.00", 2, 0)]

# What README calls `duckdb`: `duckdb FILE [options] -c SQL`, or the statements on standard input.
SHELL = """#!{python}
import sys, duckdb
db = duckdb.connect(sys.argv[1])
sql = sys.argv[sys.argv.index("-c") + 1] if "-c" in sys.argv else sys.stdin.read()
for row in (db.execute(sql).fetchall() if "-c" in sys.argv else [db.execute(sql)][:0]):
    print("|".join(map(str, row)))
"""


# What README calls `clickhouse-client`, over a database in a folder.
CLIENT = """#!{python}
import sys
from chdb.session import Session
db = Session("{folder}/clickhouse")
arguments = sys.argv[1:]
while arguments[0] != "-q":
    db.query(f"SET {{arguments[0].lstrip('-')}} = '{{arguments[1]}}'")
    arguments = arguments[2:]
data = sys.stdin.read() if arguments[1].endswith("JSONEachRow") else ""
if data or not arguments[1].endswith("JSONEachRow"):
    sys.stdout.write(str(db.query(arguments[1] + "\\n" + data, "TSV")))
"""


def fail(text):
    sys.exit(f"loaders_check: {text}")


def blocks(begin, end):
    """The code blocks of a part of README, in their order, with their languages."""
    text = README.read_text()
    part = text[text.index(begin) : text.index(end)]
    return re.findall(r"```(\w+)\n(.*?)```", part, re.DOTALL)


def pick(found, language, word):
    """The one block of that language that holds the word."""
    picked = [text for kind, text in found if kind == language and word in text]
    if len(picked) != 1:
        fail(f"README has {len(picked)} blocks of {language} with {word!r}")
    return picked[0]


def rows(answer):
    """(hour, zone, revenue, trips, revision), sorted."""
    return sorted((f"{start:%H:%M}", zone, f"{revenue:.2f}", trips, revision) for start, zone, revenue, trips, revision in answer)


class Sink:
    """A sink whose window of 10:00 is corrected when `grow` is called for the second time."""

    def __init__(self, windrow, folder):
        self.windrow, self.folder = windrow, folder
        (folder / "trips.toml").write_text(PIPELINE)
        self.env = {**os.environ, "PATH": f"{folder}:{windrow.parent}:{os.environ['PATH']}"}

    def grow(self, records):
        with open(self.folder / "trips.jsonl", "a") as file:
            for at, zone, fare in records:
                fare = f'"{fare}"' if isinstance(fare, str) else fare
                file.write(f'{{"at":"2026-03-01T{at}:00Z","zone":"{zone}","fare":{fare}}}\n')
        self.run([self.windrow, "run", "trips.toml", "--quiet"])

    def run(self, command, **options):
        return subprocess.run(command, cwd=self.folder, env=self.env, check=True, text=True, **options)


def same(what, found, expected):
    if found != expected:
        fail(f"{what}: {found} instead of {expected}")
    print(f"{what}: as expected")


def duckdb_statements(sink):
    found = blocks("**DuckDB**, straight", "**Postgres**")
    load, script = pick(found, "sql", "BEGIN;"), pick(found, "sh", "windrow files")
    straight = pick(found, "sql", "QUALIFY")
    (sink.folder / "load.sql").write_text(load)
    shell = sink.folder / "duckdb"
    shell.write_text(SHELL.format(python=sys.executable))
    shell.chmod(0o755)
    warehouse = sink.folder / "warehouse.db"

    def table():
        with duckdb.connect(str(warehouse)) as db:
            db.execute("SET TimeZone = 'UTC'")
            return rows(db.execute("SELECT window_start, zone, revenue, trips, _revision FROM trips").fetchall())

    def directly(sql):
        os.chdir(sink.folder)
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            return rows(db.execute(f"SELECT window_start, zone, revenue, trips, _revision FROM ({sql.strip().rstrip(';')})").fetchall())

    sink.grow(FIRST)
    sink.run(["sh", "-ec", script])
    same("DuckDB, a first result in a table", table(), RESULT_0)
    same("DuckDB, a first result straight", directly(straight.replace(", 'out/trips/corrections/**/*.parquet'", "")), RESULT_0)
    sink.grow(LATER)
    # A load that dies before its COMMIT.
    (sink.folder / "load.sql").write_text(load.replace("COMMIT;", ""))
    sink.run(["sh", "-ec", script])
    same("DuckDB, a load that did not commit", table(), RESULT_0)
    (sink.folder / "load.sql").write_text(load)
    for what in ("a correction in a table", "the same once more"):
        sink.run(["sh", "-ec", script])
        same(f"DuckDB, {what}", table(), RESULT_1)
    same("DuckDB, corrections straight", directly(straight), RESULT_1)


def clickhouse_statements(sink):
    found = blocks("**ClickHouse** (run", "**Redshift** (not run)")
    client = sink.folder / "clickhouse-client"
    client.write_text(CLIENT.format(python=sys.executable, folder=sink.folder))
    client.chmod(0o755)

    def here(text):
        """The sink is a folder."""
        text = text.replace("'s3://lake/trips/", f"'{sink.folder}/out/trips/").replace("s3://lake/trips", "out/trips")
        return text.replace("s3('", "file('")

    def ask(sql):
        return sink.run([client, "-q", sql], stdin=subprocess.DEVNULL, capture_output=True).stdout

    def found_rows(sql):
        sql = f"SELECT formatDateTime(window_start, '%H:%i'), zone, toString(revenue), trips, _revision FROM ({sql})"
        lines = [line.split("\t") for line in ask(sql).splitlines()]
        return sorted((at, zone, f"{float(revenue):.2f}", int(trips), int(revision)) for at, zone, revenue, trips, revision in lines)

    for statement in pick(found, "sql", "CREATE TABLE trips").split(";"):
        if statement.strip():
            ask(statement)
    straight = here(pick(found, "sql", "QUALIFY")).strip().rstrip(";")
    script = here(pick(found, "sh", "windrow files"))
    table = lambda: found_rows("SELECT * FROM trips")
    sink.grow(FIRST)
    sink.run(["sh", "-c", script])
    same("ClickHouse, a first result in a table", table(), RESULT_0)
    sink.grow(LATER)
    # A load that dies after its rows, before it says so.
    sink.run(["sh", "-c", script[: script.rindex("clickhouse-client")]])
    for what in ("a correction in a table, after a load that died", "the same once more"):
        sink.run(["sh", "-c", script])
        same(f"ClickHouse, {what}", table(), RESULT_1)
    same("ClickHouse, corrections straight", found_rows(straight), RESULT_1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("windrow", type=pathlib.Path)
    parser.add_argument("--clickhouse", action="store_true")
    options = parser.parse_args()
    windrow = options.windrow.resolve()
    with tempfile.TemporaryDirectory() as folder:
        duckdb_statements(Sink(windrow, pathlib.Path(folder)))
    if options.clickhouse:
        with tempfile.TemporaryDirectory() as folder:
            clickhouse_statements(Sink(windrow, pathlib.Path(folder)))


if __name__ == "__main__":
    main()
