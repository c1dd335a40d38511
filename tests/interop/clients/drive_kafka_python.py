"""kafka-python."""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from wire import headers_of, job, say, say_record, told_to_stop, unhex

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}


def produce(job):
    for one in job["jobs"]:
        producer = KafkaProducer(
            bootstrap_servers=job["bootstrap"],
            compression_type=None if one["codec"] == "none" else one["codec"],
            enable_idempotence=one.get("idempotent", False),
            max_request_size=2_000_000,
            linger_ms=20,
        )
        sent = [
            producer.send(
                one["topic"],
                partition=record["partition"],
                key=unhex(record["key"]),
                value=unhex(record["value"]),
                headers=headers_of(record),
                timestamp_ms=record["timestamp"],
            )
            for record in one["records"]
        ]
        for future in sent:
            stored = future.get(60)
            say(stored=[stored.topic, stored.partition, stored.offset])
        producer.close()


def stream(job):
    """Numbers, for ever; a number is said when it is stored."""
    producer = KafkaProducer(
        bootstrap_servers=job["bootstrap"],
        enable_idempotence=True,
        linger_ms=2,
        batch_size=400,
        reconnect_backoff_max_ms=200,
        request_timeout_ms=10_000,
        delivery_timeout_ms=120_000,
    )
    number, waiting = 0, []
    while not told_to_stop.is_set():
        waiting = [(number, future) for number, future in waiting if not say_when_done(number, future)]
        if len(waiting) < 200:
            waiting.append((number, producer.send(job["topic"], partition=0, value=str(number).encode())))
            number += 1
        else:
            told_to_stop.wait(0.005)
    for number_of, future in waiting:
        future.get(120)
        say_when_done(number_of, future)
    say(sent=number)


def say_when_done(number, future):
    if not future.is_done:
        return False
    say(number=number, offset=future.get(0).offset)
    return True


def start_of(consumer, partition, start):
    if start == "beginning":
        return consumer.beginning_offsets([partition])[partition]
    if start == "end":
        return consumer.end_offsets([partition])[partition]
    if "offset" in start:
        return start["offset"]
    return consumer.offsets_for_times({partition: start["timestamp"]})[partition].offset


def consume(job):
    consumer = KafkaConsumer(bootstrap_servers=job["bootstrap"], enable_auto_commit=False)
    left = {TopicPartition(place["topic"], place["partition"]): place["count"] for place in job["places"]}
    consumer.assign(list(left))
    for place in job["places"]:
        partition = TopicPartition(place["topic"], place["partition"])
        consumer.seek(partition, start_of(consumer, partition, place["from"]))
    say(ready=True)
    while any(left.values()):
        for place, records in consumer.poll(1000).items():
            for one in records[: left[place]]:
                left[place] -= 1
                say_record(*place[:2], one.offset, one.timestamp, one.key, one.value, one.headers)
    consumer.close()


def group(job):
    consumer = KafkaConsumer(
        *job["topics"],
        bootstrap_servers=job["bootstrap"],
        group_id=job["group"],
        group_instance_id=job.get("instance"),
        partition_assignment_strategy=[ASSIGNORS[job["assignor"]]],
        session_timeout_ms=job["session_ms"],
        heartbeat_interval_ms=300,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        metadata_max_age_ms=1_000,
    )
    assigned = None
    while not told_to_stop.is_set():
        read = [one for records in consumer.poll(100, max_records=50).values() for one in records]
        for one in read:
            say_record(one.topic, one.partition, one.offset, -1, None, one.value, [])
        if read:
            try:
                consumer.commit()
            except KafkaError as error:
                say(commit_failed=type(error).__name__)
        now = sorted([one.topic, one.partition] for one in consumer.assignment())
        if now != assigned:
            assigned = now
            say(assigned=now)
    consumer.close()
    say(left=True)


def commit(job):
    consumer = KafkaConsumer(bootstrap_servers=job["bootstrap"], group_id=job["group"], enable_auto_commit=False)
    offsets = {TopicPartition(t, p): OffsetAndMetadata(o, m, -1) for t, p, o, m in job["offsets"]}
    consumer.assign(list(offsets))
    consumer.commit(offsets)
    consumer.close()
    say(committed=True)


def committed(job):
    consumer = KafkaConsumer(bootstrap_servers=job["bootstrap"], group_id=job["group"], enable_auto_commit=False)
    for topic, partition in job["partitions"]:
        found = consumer.committed(TopicPartition(topic, partition), metadata=True)
        offset, metadata = (found.offset, found.metadata) if found else (None, "")
        say(offset=[topic, partition, offset, metadata])
    consumer.close()


{"produce": produce, "stream": stream, "consume": consume, "group": group, "commit": commit, "committed": committed}[
    sys.argv[1]
](job())
