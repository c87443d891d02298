# Creates, describes, grows and deletes a topic.
import sys

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec
from confluent_kafka import TopicPartition

a = AdminClient({'bootstrap.servers': sys.argv[1]})
topic = sys.argv[2]


def one(futures):
    (future,) = futures.values()
    return future.result(timeout=30)


one(a.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1, config={'retention.ms': '86400000'})]))
try:
    one(a.create_topics([NewTopic(topic, num_partitions=3)]))
    print('created twice')
except KafkaException as e:
    print('again:', e.args[0].name())
print('partitions:', len(a.list_topics(topic, timeout=30).topics[topic].partitions))
configs = one(a.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]))
print('retention.ms:', configs['retention.ms'].value)
one(a.create_partitions([NewPartitions(topic, 4)]))
print('partitions:', len(a.list_topics(topic, timeout=30).topics[topic].partitions))
print('latest:', one(a.list_offsets({TopicPartition(topic, 3): OffsetSpec.latest()})).offset)
print('cluster:', len(a.describe_cluster().result(timeout=30).nodes), 'node')
one(a.delete_topics([topic], operation_timeout=30))
print('deleted:', topic not in a.list_topics(timeout=30).topics)
