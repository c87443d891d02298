"""Runs librdkafka against a broker, through confluent-kafka."""
import confluent_kafka
from confluent_kafka import (
    Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec,
)

import checks
from checks import LIMIT, FIRST_TIMESTAMP, say, want

logger = checks.watch("librdkafka")


def settings(brokers, **more):
    # Debug lines come at the level DEBUG, so that what is a warning can be told from them.
    s = {"bootstrap.servers": brokers, "logger": logger, "debug": "broker,protocol,cgrp,topic,eos,consumer,admin,feature", "log_level": 7}
    s.update({name.replace("_", "."): v for name, v in more.items()})
    return s


def one(futures):
    (future,) = futures.values()
    return future.result(timeout=LIMIT)


def admin(brokers):
    return AdminClient(settings(brokers))


def deliver(p):
    want("undelivered", p.flush(LIMIT), 0)


def produce(codec):
    def check(brokers):
        failed = []
        p = Producer(settings(brokers, compression_type=codec))
        for i in range(100):
            p.produce(codec, key=checks.key(i), value=checks.value(i), headers=checks.headers(i), timestamp=FIRST_TIMESTAMP + i, partition=0,
                      on_delivery=lambda e, m: e and failed.append(e))
        deliver(p)
        want("failed", failed, [])
    return check


def read(c, count):
    records = []
    for _ in range(LIMIT):
        for m in c.consume(500, timeout=1.0):
            if m.error() is not None:
                raise KafkaException(m.error())
            records.append(m)
        if len(records) >= count:
            break
    want("records", len(records), count)
    return records


def reader(brokers, group, **more):
    return Consumer(settings(brokers, group_id=group, auto_offset_reset="earliest", **more))


def compare(records, first):
    for i, m in enumerate(records, first):
        checks.same(i % 100, m.key(), m.value(), m.headers(), m.timestamp()[1])


def consume(brokers):
    c = reader(brokers, "consume")
    c.assign([TopicPartition("gzip", 0, confluent_kafka.OFFSET_BEGINNING)])
    compare(read(c, 100), 0)
    c.close()


def consume_by_time(brokers):
    c = reader(brokers, "consume-by-time")
    found = c.offsets_for_times([TopicPartition("gzip", 0, FIRST_TIMESTAMP + 50)], timeout=LIMIT)
    want("offset", found[0].offset, 50)
    c.assign(found)
    compare(read(c, 50), 50)
    c.close()


def consume_codecs(brokers):
    c = reader(brokers, "consume-codecs")
    c.subscribe(["golden"])
    compare(read(c, 500), 0)
    c.close()


def idempotent(brokers):
    a = admin(brokers)
    one(a.create_topics([NewTopic("idempotent", 3)]))
    p = Producer(settings(brokers, enable_idempotence=True))
    for i in range(3000):
        p.produce("idempotent", key=b"%d" % (i % 7), value=b"%d" % i)
        p.poll(0)
    deliver(p)
    c = reader(brokers, "idempotent")
    c.subscribe(["idempotent"])
    checks.in_order(int(m.value()) for m in read(c, 3000))
    c.close()


def transactional(brokers, name):
    p = Producer(settings(brokers, transactional_id=name))
    p.init_transactions(LIMIT)
    return p


def transaction(brokers):
    a = admin(brokers)
    one(a.create_topics([NewTopic("transactions", 2)]))
    p = transactional(brokers, "transaction")
    for i in range(10):
        p.begin_transaction()
        for j in range(20):
            p.produce("transactions", key=b"%d" % j, value=b"%s %d" % (b"aborted" if i % 2 else b"committed", i))
        if i % 2:
            deliver(p)
            p.abort_transaction(LIMIT)
        else:
            p.commit_transaction(LIMIT)
    c = reader(brokers, "committed")  # read_committed is the default
    c.subscribe(["transactions"])
    want("aborted", [m.value() for m in read(c, 100) if not m.value().startswith(b"committed")], [])
    c.close()
    c = reader(brokers, "uncommitted", isolation_level="read_uncommitted")
    c.subscribe(["transactions"])
    read(c, 200)
    c.close()


def transaction_offsets(brokers):
    for end, wanted in ("abort", confluent_kafka.OFFSET_INVALID), ("commit", 100):
        c = reader(brokers, "movers", enable_auto_commit=False)
        c.subscribe(["gzip"])
        p = transactional(brokers, "mover")
        p.begin_transaction()
        for m in read(c, 100):
            p.produce("moved", value=m.value())
        p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), LIMIT)
        if end == "abort":
            p.abort_transaction(LIMIT)
        else:
            p.commit_transaction(LIMIT)
        want("committed offset", c.committed([TopicPartition("gzip", 0)], timeout=LIMIT)[0].offset, wanted)
        c.close()


def fence(brokers):
    old = transactional(brokers, "fenced")
    old.begin_transaction()
    old.produce("transactions", value=b"zombie")
    deliver(old)
    transactional(brokers, "fenced")
    try:
        old.commit_transaction(LIMIT)
    except KafkaException as e:
        want("error of the first", e.args[0].code(), KafkaError._FENCED)
        return
    raise AssertionError("the first producer was not fenced")


def admin_topics(brokers):
    a = admin(brokers)
    one(a.create_topics([NewTopic("administered", 3, 1, config={"retention.ms": "86400000"})]))
    try:
        one(a.create_topics([NewTopic("administered", 3)]))
        raise AssertionError("created twice")
    except KafkaException as e:
        want("error", e.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS)
    one(a.create_partitions([NewPartitions("administered", 5)]))
    want("partitions", len(a.list_topics("administered", timeout=LIMIT).topics["administered"].partitions), 5)
    described = one(a.describe_topics(confluent_kafka.TopicCollection(["administered"])))
    want("described", len(described.partitions), 5)
    one(a.delete_topics(["administered"]))
    want("there after its deletion", "administered" in a.list_topics(timeout=LIMIT).topics, False)
    want("nodes", len(a.describe_cluster().result(timeout=LIMIT).nodes), 1)


def admin_configs(brokers):
    a = admin(brokers)
    for op, wanted in (AlterConfigOpType.SET, "123456789"), (AlterConfigOpType.DELETE, "604800000"):
        change = ConfigEntry("retention.ms", wanted if op == AlterConfigOpType.SET else None, incremental_operation=op)
        one(a.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, "gzip", incremental_configs=[change])]))
        got = one(a.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "gzip")]))
        want("retention.ms", got["retention.ms"].value, wanted)


def admin_groups(brokers):
    c = reader(brokers, "described")
    c.subscribe(["gzip"])
    read(c, 100)
    a = admin(brokers)
    d = one(a.describe_consumer_groups(["described"]))
    want("state", d.state.name, "STABLE")
    want("assignment", [(p.topic, p.partition) for p in d.members[0].assignment.topic_partitions], [("gzip", 0)])
    c.close()
    want("listed", "described" in [g.group_id for g in a.list_consumer_groups().result(timeout=LIMIT).valid], True)
    offsets = one(a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("described")]))
    want("offset", [p.offset for p in offsets.topic_partitions], [100])
    one(a.delete_consumer_groups(["described"]))
    try:
        one(a.delete_consumer_groups(["described"]))
        raise AssertionError("deleted twice")
    except KafkaException as e:
        want("error", e.args[0].code(), KafkaError.GROUP_ID_NOT_FOUND)


def admin_offsets(brokers):
    a, at = admin(brokers), TopicPartition("gzip", 0)
    for spec, wanted in (OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 100), (OffsetSpec.max_timestamp(), 99), (OffsetSpec.for_timestamp(FIRST_TIMESTAMP + 10), 10):
        want(type(spec).__name__, one(a.list_offsets({at: spec}, isolation_level=IsolationLevel.READ_COMMITTED)).offset, wanted)
    one(a.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("set", [TopicPartition("gzip", 0, 42)])]))
    offsets = one(a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("set")]))
    want("committed", [p.offset for p in offsets.topic_partitions], [42])


def admin_delete_records(brokers):
    a = admin(brokers)
    want("low watermark", one(a.delete_records([TopicPartition("snappy", 0, 30)])).low_watermark, 30)
    c = reader(brokers, "watermarks")
    want("watermarks", c.get_watermark_offsets(TopicPartition("snappy", 0), timeout=LIMIT), (30, 100))
    c.close()


def member(brokers, group, topic, protocol, ended):
    more = {"group_protocol": "consumer"} if protocol == "consumer" else {}
    c = Consumer(settings(brokers, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, **more))

    mine = set()

    def assigned(consumer, partitions):
        mine.update(p.partition for p in partitions)
        say("assigned", *sorted(mine))

    def revoked(consumer, partitions):
        mine.difference_update(p.partition for p in partitions)
        say("assigned", *sorted(mine))

    def lost(consumer, partitions):
        mine.clear()
        say("lost", *[p.partition for p in partitions])

    c.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
    while not ended.is_set():
        offsets = {}
        for m in c.consume(100, timeout=0.2):
            if m.error() is not None:
                raise KafkaException(m.error())
            say("record", m.partition(), m.offset())
            offsets[m.partition()] = m.offset() + 1
        if not offsets:
            continue
        try:
            c.commit(offsets=[TopicPartition(topic, p, o) for p, o in offsets.items()], asynchronous=False)
            for p, o in offsets.items():
                say("committed", p, o)
        except KafkaException as e:
            say("uncommitted", e)
    c.close()


def all_checks():
    named = {"produce-" + codec: produce(codec) for codec in ("gzip", "lz4", "none", "snappy", "zstd")}
    return named | {
        "consume": consume, "consume-by-time": consume_by_time, "consume-codecs": consume_codecs,
        "idempotent": idempotent, "transaction": transaction, "transaction-offsets": transaction_offsets, "transaction-fence": fence,
        "admin-topics": admin_topics, "admin-configs": admin_configs, "admin-groups": admin_groups, "admin-offsets": admin_offsets,
        "admin-delete-records": admin_delete_records,
    }


if __name__ == "__main__":
    checks.run(f"confluent-kafka {confluent_kafka.__version__}, librdkafka {confluent_kafka.libversion()[0]}", all_checks(), member)
