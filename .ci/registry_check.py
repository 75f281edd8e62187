"""Avro and Protobuf as Confluent's serializers write them, through a real registry and broker, against sums made here.

python .ci/registry_check.py WINDROW --brokers HOST:PORT --registry URL

Schemas change in the middle of each topic, columns are not declared, some records name a schema that nobody knows. And JSON whose keys have schemas.
Needs confluent-kafka[avro,protobuf], grpcio-tools and pyarrow.
"""

import argparse
import datetime
import decimal
import importlib
import pathlib
import random
import subprocess
import sys
import tempfile
import uuid

import pyarrow.dataset
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

BEGIN = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
HOUR = datetime.timedelta(hours=1)
PARTITIONS = 2
RECORDS = 2000

FIRST = """{"type": "record", "name": "Ride", "namespace": "rides", "fields": [
  {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
  {"name": "zone", "type": ["null", "string"], "default": null},
  {"name": "fare", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
  {"name": "gone", "type": "int", "default": 0}]}"""
SECOND = """{"type": "record", "name": "Ride", "namespace": "rides", "fields": [
  {"name": "zone", "type": ["null", "string"], "default": null},
  {"name": "new", "type": {"type": "string", "logicalType": "uuid"}, "default": ""},
  {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
  {"name": "fare", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
  {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"""

KEY = """{"type": "record", "name": "Key", "namespace": "rides", "fields": [
  {"name": "id", "type": "long"}, {"name": "zone", "type": ["null", "string"]}]}"""

FILES = {
    "rides_car.proto": 'syntax = "proto3"; package rides; message Car { int32 seats = 1; }',
    "rides_key.proto": 'syntax = "proto3"; package rides; message Key { optional string zone = 1; int64 id = 2; }',
    "rides_one.proto": """syntax = "proto3"; package rides;
        import "google/protobuf/timestamp.proto"; import "rides_car.proto";
        message Other { int32 x = 1; }
        message Ride { google.protobuf.Timestamp at = 1; optional string zone = 2; int64 cents = 3; Car car = 4; }""",
}


def rides(seed):
    """When, where and for how much: in order but for a minute."""
    chance = random.Random(seed)
    for index in range(RECORDS):
        at = BEGIN + HOUR * 8 * index / RECORDS - datetime.timedelta(seconds=chance.randrange(60))
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        yield at, chance.choice([None, "JFK", "Zürich"]), decimal.Decimal(chance.randrange(-999, 99999)).scaleb(-2)


class Topic:
    def __init__(self, options, what):
        self.name = f"{what}-{uuid.uuid4().hex}"
        self.options = options
        admin = AdminClient({"bootstrap.servers": options.brokers})
        for made in admin.create_topics([NewTopic(self.name, PARTITIONS, 1)]).values():
            made.result()
        self.producer = Producer({"bootstrap.servers": options.brokers, "linger.ms": 20})
        self.truth = {}
        self.sent = 0

    def send(self, value, ride=None, key=None):
        self.producer.produce(self.name, value, key, partition=self.sent % PARTITIONS)
        self.producer.poll(0)
        self.sent += 1
        if ride:
            at, zone, fare = ride
            key = (at.replace(minute=0, second=0, microsecond=0), zone)
            total, count = self.truth.get(key, (decimal.Decimal(0), 0))
            self.truth[key] = (total + fare, count + 1)

    def check(self, folder, fare, broken, more="", source=""):
        """Runs a pipeline over the topic and compares its rows; so many records are invalid."""
        self.producer.flush()
        sink = folder / self.name
        pipeline = folder / f"{self.name}.toml"
        pipeline.write_text(f"""
name = "registry"
[source]
format = "{self.name.split('-')[0]}"
{source}
[source.kafka]
brokers = "{self.options.brokers}"
topic = "{self.name}"
group = "{self.name}"
[source.registry]
url = "{self.options.registry}"
unknown_timeout = "1 second"
{more}
[window]
event_time = "at"
size = "1 hour"
watermark_delay = "2 minutes"
[query]
sql = "SELECT zone, SUM({fare}) AS fare, COUNT(*) AS rides FROM rides GROUP BY zone"
[sink]
url = "{sink}"
""")
        subprocess.run([self.options.windrow, "run", pipeline, "--once", "--close-all"], check=True)
        found = {}
        for row in pyarrow.dataset.dataset(sink / "data", format="parquet").to_table().to_pylist():
            found[(row["window_start"], row["zone"])] = (decimal.Decimal(row["fare"]), row["rides"])
        assert found == self.truth, "the rows are not what was sent"
        status = subprocess.run(
            [self.options.windrow, "audit", sink], check=True, capture_output=True, text=True
        ).stdout
        assert f"invalid {broken};" in status, status
        print(f"{self.name}: {len(found)} sums of {self.sent} records are right, {broken} records invalid")


def avro(options, folder):
    topic = Topic(options, "avro")
    registry = SchemaRegistryClient({"url": options.registry})
    context = SerializationContext(topic.name, MessageField.VALUE)
    first, second = (AvroSerializer(registry, schema) for schema in (FIRST, SECOND))
    for index, ride in enumerate(rides(1)):
        at, zone, fare = ride
        record = {"at": at, "zone": zone, "fare": fare}
        # Both kinds of producer are at work for a while.
        if index < RECORDS // 3 or (index < 2 * RECORDS // 3 and index % 2):
            topic.send(first({**record, "gone": index}, context), ride)
        else:
            topic.send(second({**record, "new": str(uuid.UUID(int=index)), "tags": ["a", "é"]}, context), ride)
    topic.send(b"\x00\x7f\xff\xff\xff nobody knows this schema")
    topic.send(b"{}")
    topic.check(folder, "fare", 2)


def protobuf(options, folder):
    from grpc_tools import protoc

    made = folder / "made"
    made.mkdir()
    for name, text in FILES.items():
        (made / name).write_text(text)
    import grpc_tools

    include = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    assert protoc.main(["", f"-I{made}", f"-I{include}", f"--python_out={made}", *FILES]) == 0
    sys.path.insert(0, str(made))
    one = importlib.import_module("rides_one_pb2")
    car = importlib.import_module("rides_car_pb2")
    topic = Topic(options, "protobuf")
    registry = SchemaRegistryClient({"url": options.registry})
    context = SerializationContext(topic.name, MessageField.VALUE)
    serializer = ProtobufSerializer(one.Ride, registry)
    for index, ride in enumerate(rides(2)):
        at, zone, fare = ride
        message = one.Ride(zone=zone, cents=int(fare * 100), car=car.Car(seats=index % 5))
        message.at.FromDatetime(at)
        topic.send(serializer(message, context), (at, zone, fare * 100))
    topic.send(b"\x00\x7f\xff\xff\xff\x00")
    topic.check(folder, "cents", 1, 'message = "rides.Ride"')


def keys(options, folder, language):
    """Values are JSON, and the zone is in the key."""
    topic = Topic(options, "json")
    registry = SchemaRegistryClient({"url": options.registry})
    context = SerializationContext(topic.name, MessageField.KEY)
    if language == "avro":
        serializer, key = AvroSerializer(registry, KEY), dict
    else:
        key = importlib.import_module("rides_key_pb2").Key
        serializer = ProtobufSerializer(key, registry)
    for index, ride in enumerate(rides(3)):
        at, zone, fare = ride
        value = f'{{"at": {at.timestamp() * 1000:.0f}, "fare": {fare}}}'
        topic.send(value.encode(), ride, serializer(key(id=index, zone=zone), context))
    topic.send(value.encode(), None, b"\x00\x7f\xff\xff\xff nobody knows this schema")
    columns = '[source.columns]\nat = "timestamp(ms)"\nfare = "decimal(12, 2)"'
    topic.check(folder, "fare", 1, columns, f'key = "{language}"')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("windrow", type=pathlib.Path)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--registry", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        avro(options, pathlib.Path(folder))
        protobuf(options, pathlib.Path(folder))
        keys(options, pathlib.Path(folder), "avro")
        keys(options, pathlib.Path(folder), "protobuf")


main()
