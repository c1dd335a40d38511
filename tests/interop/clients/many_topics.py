"""A thousand topics: made in one request, one record into each, listed, all read by one subscription."""

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from wire import job, say

job = job()
settings = {"bootstrap.servers": job["bootstrap"]}
names = [f"many-{n:04}" for n in range(job["topics"])]
admin = AdminClient(settings)
for made in admin.create_topics([NewTopic(name, 1, 1) for name in names], request_timeout=60).values():
    made.result()
say(made=len(names))

producer = Producer(settings)
for name in names:
    producer.produce(name, value=name)
assert producer.flush(60) == 0
listed = admin.list_topics(timeout=60).topics
assert set(names) <= set(listed), set(names) - set(listed)

consumer = Consumer(settings | {"group.id": "all", "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe(["^many-.*"])
left = set(names)
while left:
    for message in consumer.consume(500, 1):
        if message.error():
            raise KafkaException(message.error())
        assert message.value().decode() == message.topic()
        left.discard(message.topic())
consumer.commit(asynchronous=False)
say(read=len(names))
consumer.close()
