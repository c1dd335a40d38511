"""The admin client of confluent-kafka: each check says its name when it held."""

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from wire import job, say

job = job()
server = job["bootstrap"]
settings = {"bootstrap.servers": server}
admin = AdminClient(settings)


def only(futures):
    (future,) = futures.values()
    return future.result(60)


def refused(code, futures):
    try:
        only(futures)
    except KafkaException as error:
        assert error.args[0].code() == code, error
        return error.args[0].str()
    raise AssertionError(f"it was not refused with {code}")


cluster = admin.describe_cluster().result(60)
assert [f"{node.host}:{node.port}" for node in cluster.nodes] == [server], cluster.nodes
assert cluster.controller.id == cluster.nodes[0].id and cluster.cluster_id
say(check="describe cluster")

only(admin.create_topics([NewTopic("a", 3, 1, config={"retention.ms": "3600000"})]))
refused(KafkaError.TOPIC_ALREADY_EXISTS, admin.create_topics([NewTopic("a", 3, 1)]))
refused(KafkaError.INVALID_REPLICATION_FACTOR, admin.create_topics([NewTopic("b", 1, 3)]))
refused(KafkaError.INVALID_PARTITIONS, admin.create_topics([NewTopic("b", 0, 1)]))
refused(KafkaError.TOPIC_EXCEPTION, admin.create_topics([NewTopic("no name", 1, 1)]))
compact = NewTopic("b", 1, 1, config={"cleanup.policy": "compact"})
assert "delete" in refused(KafkaError.INVALID_CONFIG, admin.create_topics([compact]))
only(admin.create_topics([NewTopic("only-checked", 1, 1)], validate_only=True))
assert "only-checked" not in admin.list_topics(timeout=60).topics
say(check="create topics")

topic = only(admin.describe_topics(TopicCollection(["a"])))
assert len(topic.partitions) == 3 and topic.topic_id
assert all(one.leader.id == cluster.controller.id and len(one.isr) == 1 for one in topic.partitions)
refused(KafkaError.UNKNOWN_TOPIC_OR_PART, admin.describe_topics(TopicCollection(["nowhere"])))
say(check="describe topics")

only(admin.create_partitions([NewPartitions("a", 5)]))
assert len(only(admin.describe_topics(TopicCollection(["a"]))).partitions) == 5
refused(KafkaError.INVALID_PARTITIONS, admin.create_partitions([NewPartitions("a", 2)]))
say(check="create partitions")

config = only(admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "a")]))
assert config["retention.ms"].value == "3600000" and not config["retention.ms"].is_default
assert config["cleanup.policy"].value == "delete" and config["retention.bytes"].value == "-1"
assert "fdatasync" in config["tidelog.durability"].value
broker = only(admin.describe_configs([ConfigResource(ConfigResource.Type.BROKER, str(cluster.controller.id))]))
assert broker["advertised.listeners"].value == f"PLAINTEXT://{server}"
say(check="describe configs")

producer = Producer(settings)
for n in range(100):
    producer.produce("a", partition=0, value=str(n), timestamp=1_700_000_000_000 + n)
assert producer.flush(60) == 0
place = TopicPartition("a", 0)


def offset_at(spec):
    return only(admin.list_offsets({place: spec}, isolation_level=IsolationLevel.READ_COMMITTED)).offset


assert offset_at(OffsetSpec.earliest()) == 0 and offset_at(OffsetSpec.latest()) == 100
assert offset_at(OffsetSpec.max_timestamp()) == 99
assert offset_at(OffsetSpec.for_timestamp(1_700_000_000_050)) == 50
say(check="list offsets")

assert only(admin.delete_records([TopicPartition("a", 0, 40)])).low_watermark == 40
assert offset_at(OffsetSpec.earliest()) == 40
refused(KafkaError.OFFSET_OUT_OF_RANGE, admin.delete_records([TopicPartition("a", 0, 1000)]))
say(check="delete records")

consumer = Consumer(settings | {"group.id": "g", "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe(["a"])
while consumer.poll(1) is None:
    pass
consumer.commit(offsets=[TopicPartition("a", 0, 50, metadata="half")], asynchronous=False)
listed = admin.list_consumer_groups().result(60)
assert not listed.errors and [group.group_id for group in listed.valid] == ["g"]
group = only(admin.describe_consumer_groups(["g"]))
assert group.state.name == "STABLE" and len(group.members) == 1, group
assert len(group.members[0].assignment.topic_partitions) == 5
assert group.coordinator.id == cluster.controller.id
refused(KafkaError.NON_EMPTY_GROUP, admin.delete_consumer_groups(["g"]))
say(check="list and describe groups")

consumer.close()
offsets = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g", [place])]))
assert [(one.offset, one.metadata) for one in offsets.topic_partitions] == [(50, "half")]
moved = ConsumerGroupTopicPartitions("g", [TopicPartition("a", 0, 60)])
assert only(admin.alter_consumer_group_offsets([moved])).topic_partitions[0].error is None
offsets = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g", [place])]))
assert offsets.topic_partitions[0].offset == 60
say(check="offsets of groups")

only(admin.delete_consumer_groups(["g"]))
refused(KafkaError.GROUP_ID_NOT_FOUND, admin.delete_consumer_groups(["g"]))
assert not admin.list_consumer_groups().result(60).valid
say(check="delete groups")

try:
    Producer(settings | {"transactional.id": "me"}).init_transactions(60)
    raise AssertionError("there are no transactions")
except KafkaException as error:
    assert error.args[0].fatal() and error.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, error
say(check="transactions are refused for good")

only(admin.delete_topics(["a"]))
refused(KafkaError.UNKNOWN_TOPIC_OR_PART, admin.delete_topics(["a"]))
say(check="delete topics")
say(done=True)
