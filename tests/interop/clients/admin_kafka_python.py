"""The admin client of kafka-python: each check says its name when it held."""

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic, OffsetSpec
from kafka.structs import OffsetAndMetadata

from wire import job, say

server = job()["bootstrap"]
admin = KafkaAdminClient(bootstrap_servers=server)


def refused(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        return str(error)
    raise AssertionError(f"it was not refused with {kind}")


cluster = admin.describe_cluster()
assert [f"{one['host']}:{one['port']}" for one in cluster["brokers"]] == [server], cluster
us = cluster["controller_id"]
say(check="describe cluster")

admin.create_topics([NewTopic("a", 3, 1, topic_configs={"retention.bytes": "1000000"})])
refused(errors.TopicAlreadyExistsError, admin.create_topics, [NewTopic("a", 3, 1)])
refused(errors.InvalidReplicationFactorError, admin.create_topics, [NewTopic("b", 1, 2)])
refused(errors.InvalidPartitionsError, admin.create_topics, [NewTopic("b", 0, 1)])
refused(errors.InvalidTopicError, admin.create_topics, [NewTopic("__b", 1, 1)])
stamped = NewTopic("b", 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
assert "CreateTime" in refused(errors.InvalidConfigurationError, admin.create_topics, [stamped])
assert "a" in admin.list_topics()
say(check="create and list topics")

(topic,) = admin.describe_topics(["a"])
assert len(topic["partitions"]) == 3 and all(one["leader_id"] == us for one in topic["partitions"]), topic
say(check="describe topics")

admin.create_partitions({"a": NewPartitions(5)})
assert len(admin.describe_topics(["a"])[0]["partitions"]) == 5
refused(errors.InvalidPartitionsError, admin.create_partitions, {"a": NewPartitions(2)})
assigned = NewPartitions(6, [[us]])
admin.create_partitions({"a": assigned})
refused(errors.InvalidReplicationAssignmentError, admin.create_partitions, {"a": NewPartitions(7, [[us + 1]])})
say(check="create partitions")

asked = [ConfigResource(ConfigResourceType.TOPIC, "a"), ConfigResource(ConfigResourceType.BROKER, str(us))]
configs = admin.describe_configs(asked, config_filter="all")
config = configs["topic"]["a"]
assert config["retention.bytes"]["value"] in (1000000, "1000000"), config["retention.bytes"]
assert config["cleanup.policy"]["value"] in ("delete", ["delete"]), config["cleanup.policy"]
assert "fdatasync" in config["tidelog.durability"]["value"]
assert configs["broker"][str(us)]["advertised.listeners"]["config_source"] == "STATIC_BROKER_CONFIG"
say(check="describe configs")

producer = KafkaProducer(bootstrap_servers=server)
for n in range(100):
    producer.send("a", partition=0, value=b"%d" % n, timestamp_ms=1_700_000_000_000 + n)
producer.flush(60)
place = TopicPartition("a", 0)


def offset_at(spec):
    return admin.list_partition_offsets({place: spec})[place].offset


assert (offset_at(OffsetSpec.EARLIEST), offset_at(OffsetSpec.LATEST)) == (0, 100)
assert offset_at(OffsetSpec.MAX_TIMESTAMP) == 99
assert offset_at(1_700_000_000_050) == 50
say(check="list offsets")

assert admin.delete_records({place: 40})[place]["low_watermark"] == 40
assert offset_at(OffsetSpec.EARLIEST) == 40
refused(errors.OffsetOutOfRangeError, admin.delete_records, {place: 1000})
say(check="delete records")

consumer = KafkaConsumer("a", bootstrap_servers=server, group_id="g", auto_offset_reset="earliest")
while not consumer.poll(1000):
    pass
consumer.commit({place: OffsetAndMetadata(50, "half", -1)})
assert [group["group_id"] for group in admin.list_groups()] == ["g"]
group = admin.describe_groups(["g"])["g"]
assert group["group_state"] == "Stable" and len(group["members"]) == 1, group
say(check="list and describe groups")

consumer.close(autocommit=False)
found = admin.list_group_offsets({"g": [place]})["g"][place]
assert (found.offset, found.metadata) == (50, "half"), found
admin.alter_group_offsets("g", {place: OffsetAndMetadata(60, "moved", -1)})
assert admin.list_group_offsets({"g": [place]})["g"][place].offset == 60
say(check="offsets of groups")

assert admin.delete_groups(["g"]) == {"g": "OK"}
assert admin.list_groups() == []
say(check="delete groups")

admin.delete_topics(["a"])
refused(errors.UnknownTopicOrPartitionError, admin.delete_topics, ["a"])
say(check="delete topics")
say(done=True)
