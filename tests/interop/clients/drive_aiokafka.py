"""aiokafka."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from wire import headers_of, job, say, say_record, told_to_stop, unhex

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


async def produce(job):
    for one in job["jobs"]:
        producer = AIOKafkaProducer(
            bootstrap_servers=job["bootstrap"],
            compression_type=None if one["codec"] == "none" else one["codec"],
            enable_idempotence=one.get("idempotent", False),
            max_request_size=2_000_000,
            linger_ms=20,
        )
        await producer.start()
        sent = [
            await producer.send(
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
            stored = await future
            say(stored=[stored.topic, stored.partition, stored.offset])
        await producer.stop()


async def stream(job):
    """Numbers, for ever; a number is said when it is stored."""
    producer = AIOKafkaProducer(
        bootstrap_servers=job["bootstrap"],
        enable_idempotence=True,
        linger_ms=2,
        max_batch_size=400,
        request_timeout_ms=120_000,
        retry_backoff_ms=50,
    )
    await producer.start()

    def done(number):
        return lambda future: say(number=number, offset=future.result().offset)

    number, waiting = 0, set()
    while not told_to_stop.is_set():
        if len(waiting) < 200:
            future = await producer.send(job["topic"], partition=0, value=str(number).encode())
            waiting.add(future)
            future.add_done_callback(done(number))
            future.add_done_callback(waiting.discard)
            number += 1
        else:
            await asyncio.sleep(0.005)
    await producer.flush()
    await producer.stop()
    say(sent=number)


async def start_of(consumer, partition, start):
    if start == "beginning":
        return (await consumer.beginning_offsets([partition]))[partition]
    if start == "end":
        return (await consumer.end_offsets([partition]))[partition]
    if "offset" in start:
        return start["offset"]
    return (await consumer.offsets_for_times({partition: start["timestamp"]}))[partition].offset


async def consume(job):
    consumer = AIOKafkaConsumer(bootstrap_servers=job["bootstrap"], enable_auto_commit=False)
    await consumer.start()
    left = {TopicPartition(place["topic"], place["partition"]): place["count"] for place in job["places"]}
    consumer.assign(list(left))
    for place in job["places"]:
        partition = TopicPartition(place["topic"], place["partition"])
        consumer.seek(partition, await start_of(consumer, partition, place["from"]))
    say(ready=True)
    while any(left.values()):
        for place, records in (await consumer.getmany(timeout_ms=1000)).items():
            for one in records[: left[place]]:
                left[place] -= 1
                say_record(*place[:2], one.offset, one.timestamp, one.key, one.value, one.headers)
    await consumer.stop()


async def group(job):
    consumer = AIOKafkaConsumer(
        *job["topics"],
        bootstrap_servers=job["bootstrap"],
        group_id=job["group"],
        group_instance_id=job.get("instance"),
        partition_assignment_strategy=[ASSIGNORS[job["assignor"]]],
        session_timeout_ms=job["session_ms"],
        heartbeat_interval_ms=300,
        rebalance_timeout_ms=20_000,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        metadata_max_age_ms=1_000,
    )
    await consumer.start()
    assigned = None
    while not told_to_stop.is_set():
        batches = await consumer.getmany(timeout_ms=100, max_records=50)
        read = [one for records in batches.values() for one in records]
        for one in read:
            say_record(one.topic, one.partition, one.offset, -1, None, one.value, [])
        if read:
            try:
                await consumer.commit()
            except KafkaError as error:
                say(commit_failed=type(error).__name__)
        now = sorted([one.topic, one.partition] for one in consumer.assignment())
        if now != assigned:
            assigned = now
            say(assigned=now)
    await consumer.stop()
    say(left=True)


async def commit(job):
    consumer = AIOKafkaConsumer(bootstrap_servers=job["bootstrap"], group_id=job["group"], enable_auto_commit=False)
    await consumer.start()
    offsets = {TopicPartition(t, p): OffsetAndMetadata(o, m) for t, p, o, m in job["offsets"]}
    consumer.assign(list(offsets))
    await consumer.commit(offsets)
    await consumer.stop()
    say(committed=True)


async def committed(job):
    consumer = AIOKafkaConsumer(bootstrap_servers=job["bootstrap"], group_id=job["group"], enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(t, p) for t, p in job["partitions"]]
    consumer.assign(partitions)
    for one in partitions:
        offset = await consumer.committed(one)
        # The metadata is not part of its answer.
        say(offset=[one.topic, one.partition, offset, None])
    await consumer.stop()


verbs = {"produce": produce, "stream": stream, "consume": consume, "group": group}
asyncio.run((verbs | {"commit": commit, "committed": committed})[sys.argv[1]](job()))
