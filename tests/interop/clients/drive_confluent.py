"""confluent-kafka, which is librdkafka."""

import sys

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, Producer, TopicPartition

from wire import headers_of, job, say, say_record, told_to_stop, unhex


def produce(job):
    for one in job["jobs"]:
        settings = {"bootstrap.servers": job["bootstrap"], "compression.type": one["codec"], "linger.ms": 20}
        settings |= {"enable.idempotence": one.get("idempotent", False), "message.max.bytes": 2_000_000}
        producer = Producer(settings)

        def done(error, message):
            if error:
                raise KafkaException(error)
            say(stored=[message.topic(), message.partition(), message.offset()])

        for record in one["records"]:
            producer.produce(
                one["topic"],
                partition=record["partition"],
                key=unhex(record["key"]),
                value=unhex(record["value"]),
                headers=headers_of(record),
                timestamp=record["timestamp"],
                on_delivery=done,
            )
        assert producer.flush(60) == 0


def stream(job):
    """Numbers, for ever; a number is said when it is stored."""
    settings = {"bootstrap.servers": job["bootstrap"], "enable.idempotence": True, "linger.ms": 2}
    settings |= {"reconnect.backoff.max.ms": 200, "message.timeout.ms": 120_000, "batch.num.messages": 20}
    producer = Producer(settings)

    def done(error, message):
        if error:
            raise KafkaException(error)
        say(number=int(message.value()), offset=message.offset())

    number = 0
    while not told_to_stop.is_set():
        if len(producer) < 200:
            producer.produce(job["topic"], partition=0, value=str(number), on_delivery=done)
            number += 1
        producer.poll(0.001)
    assert producer.flush(120) == 0
    say(sent=number)


def start_of(consumer, place):
    partition, start = TopicPartition(place["topic"], place["partition"]), place["from"]
    first, end = consumer.get_watermark_offsets(partition, timeout=60)
    if start == "beginning":
        return first
    if start == "end":
        return end
    if "offset" in start:
        return start["offset"]
    partition.offset = start["timestamp"]
    return consumer.offsets_for_times([partition], timeout=60)[0].offset


def consume(job):
    consumer = Consumer({"bootstrap.servers": job["bootstrap"], "group.id": "unused", "enable.auto.commit": False})
    left = {(place["topic"], place["partition"]): place["count"] for place in job["places"]}
    places = [TopicPartition(one["topic"], one["partition"], start_of(consumer, one)) for one in job["places"]]
    consumer.assign(places)
    say(ready=True)
    while any(left.values()):
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        place = message.topic(), message.partition()
        if left[place] > 0:
            left[place] -= 1
            time_ms = message.timestamp()[1]
            say_record(*place, message.offset(), time_ms, message.key(), message.value(), message.headers())
    consumer.close()


def group(job):
    settings = {
        "bootstrap.servers": job["bootstrap"],
        "group.id": job["group"],
        "partition.assignment.strategy": job["assignor"],
        "session.timeout.ms": job["session_ms"],
        "heartbeat.interval.ms": 300,
        "max.poll.interval.ms": 60_000,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "topic.metadata.refresh.interval.ms": 1_000,
    }
    if job.get("instance"):
        settings["group.instance.id"] = job["instance"]
    consumer = Consumer(settings)
    assigned = None

    def revoked(consumer, _):
        # Whatever was said to be read is committed before another one gets the partition.
        commit(consumer)

    def commit(consumer):
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as error:
            say(commit_failed=error.args[0].name())

    consumer.subscribe(job["topics"], on_revoke=revoked)
    while not told_to_stop.is_set():
        messages = [message for message in consumer.consume(50, 0.1) if not message.error()]
        for message in messages:
            say_record(message.topic(), message.partition(), message.offset(), -1, None, message.value(), [])
        if messages:
            commit(consumer)
        now = sorted([one.topic, one.partition] for one in consumer.assignment())
        if now != assigned:
            assigned = now
            say(assigned=now)
    consumer.close()
    say(left=True)


def commit(job):
    consumer = Consumer({"bootstrap.servers": job["bootstrap"], "group.id": job["group"]})
    offsets = [TopicPartition(t, p, o, metadata=m) for t, p, o, m in job["offsets"]]
    for one in consumer.commit(offsets=offsets, asynchronous=False):
        assert one.error is None, one.error
    consumer.close()
    say(committed=True)


def committed(job):
    # Metadata that it did not commit itself it reads beyond the end of: it expects a NUL there.
    consumer = Consumer({"bootstrap.servers": job["bootstrap"], "group.id": job["group"]})
    for one in consumer.committed([TopicPartition(t, p) for t, p in job["partitions"]], timeout=60):
        assert one.error is None, one.error
        offset = None if one.offset == OFFSET_INVALID else one.offset
        say(offset=[one.topic, one.partition, offset, (one.metadata or "") if job["own"] else None])
    consumer.close()


{"produce": produce, "stream": stream, "consume": consume, "group": group, "commit": commit, "committed": committed}[
    sys.argv[1]
](job())
