"""Runs kafka-python against a broker."""
import kafka
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, OffsetSpec
from kafka.errors import CommitFailedError, KafkaError, TopicAlreadyExistsError

import checks
from checks import FIRST_TIMESTAMP, LIMIT, say, want

checks.watch("kafka")
GZIP = TopicPartition("gzip", 0)


def produce(codec):
    def check(brokers):
        with KafkaProducer(bootstrap_servers=brokers, compression_type=None if codec == "none" else codec) as p:
            sent = [p.send(codec, key=checks.key(i), value=checks.value(i), headers=checks.headers(i, b""), timestamp_ms=FIRST_TIMESTAMP + i, partition=0)
                    for i in range(100)]
            want("offsets", [s.get(LIMIT).offset for s in sent], list(range(100)))
    return check


def read(c, count):
    records = []
    for _ in range(LIMIT):
        for some in c.poll(timeout_ms=1000).values():
            records.extend(some)
        if len(records) >= count:
            break
    want("records", len(records), count)
    return records


def compare(records, first, null=b""):  # the client writes no null headers
    for i, r in enumerate(records, first):
        checks.same(i % 100, r.key, r.value, r.headers, r.timestamp, null)


def reader(brokers, *topics, **more):
    if "group_id" not in more:
        more["enable_auto_commit"] = False
    return KafkaConsumer(*topics, bootstrap_servers=brokers, auto_offset_reset="earliest", **more)


def consume(brokers):
    with reader(brokers) as c:
        c.assign([GZIP])
        c.seek_to_beginning()
        compare(read(c, 100), 0)


def consume_by_time(brokers):
    with reader(brokers) as c:
        c.assign([GZIP])
        found = c.offsets_for_times({GZIP: FIRST_TIMESTAMP + 50})[GZIP]
        want("offset", (found.offset, found.timestamp), (50, FIRST_TIMESTAMP + 50))
        c.seek(GZIP, found.offset)
        compare(read(c, 50), 50)


def consume_codecs(brokers):
    with reader(brokers, "golden") as c:
        compare(read(c, 500), 0, None)


def admin(brokers):
    return KafkaAdminClient(bootstrap_servers=brokers)


def idempotent(brokers):
    with admin(brokers) as a:
        a.create_topics({"idempotent": {"num_partitions": 3}})
    with KafkaProducer(bootstrap_servers=brokers, enable_idempotence=True) as p:
        sent = [p.send("idempotent", key=b"%d" % (i % 7), value=b"%d" % i) for i in range(3000)]
        p.flush(LIMIT)
        for s in sent:
            s.get(LIMIT)
    with reader(brokers, "idempotent") as c:
        checks.in_order(int(r.value) for r in read(c, 3000))


def transactional(brokers, name):
    p = KafkaProducer(bootstrap_servers=brokers, transactional_id=name)
    p.init_transactions()
    return p


def transaction(brokers):
    with admin(brokers) as a:
        a.create_topics({"transactions": {"num_partitions": 2}})
    with transactional(brokers, "transaction") as p:
        for i in range(10):
            p.begin_transaction()
            for j in range(20):
                p.send("transactions", key=b"%d" % j, value=b"%s %d" % (b"aborted" if i % 2 else b"committed", i))
            if i % 2:
                p.flush(LIMIT)
                p.abort_transaction()
            else:
                p.commit_transaction()
    with reader(brokers, "transactions", isolation_level="read_committed") as c:
        want("aborted", [r.value for r in read(c, 100) if not r.value.startswith(b"committed")], [])
    with reader(brokers, "transactions") as c:
        read(c, 200)


def transaction_offsets(brokers):
    for end, wanted in ("abort", None), ("commit", 100):
        with reader(brokers, "gzip", group_id="movers", enable_auto_commit=False) as c, transactional(brokers, "mover") as p:
            p.begin_transaction()
            for r in read(c, 100):
                p.send("moved", key=b"moved", value=r.value)
            p.send_offsets_to_transaction({GZIP: OffsetAndMetadata(c.position(GZIP), "", -1)}, c.group_metadata())
            if end == "abort":
                p.abort_transaction()
            else:
                p.commit_transaction()
            want("committed offset", c.committed(GZIP), wanted)


def fence(brokers):
    old = transactional(brokers, "fenced")
    old.begin_transaction()
    old.send("transactions", value=b"zombie").get(LIMIT)
    transactional(brokers, "fenced").close()
    try:
        old.commit_transaction()
    except KafkaError as e:
        want("error of the first", type(e).__name__ in ("ProducerFencedError", "InvalidProducerEpochError"), True)
    else:
        raise AssertionError("the first producer was not fenced")
    finally:
        old.close(timeout=0)


def admin_topics(brokers):
    with admin(brokers) as a:
        a.create_topics({"administered": {"num_partitions": 3, "replication_factor": 1, "configs": {"retention.ms": "86400000"}}})
        try:
            a.create_topics({"administered": {"num_partitions": 3}})
            raise AssertionError("created twice")
        except TopicAlreadyExistsError:
            pass
        a.create_partitions({"administered": 5})
        want("partitions", len(a.describe_topics(["administered"])[0]["partitions"]), 5)
        want("partitions", len(a.describe_topic_partitions(["administered"])["topics"][0]["partitions"]), 5)
        a.delete_topics(["administered"])
        want("there after its deletion", "administered" in a.list_topics(), False)
        want("nodes", len(a.describe_cluster()["brokers"]), 1)


def admin_configs(brokers):
    with admin(brokers) as a:
        for wanted in "123456789", "604800000":
            if wanted == "123456789":
                a.alter_configs([ConfigResource("TOPIC", "gzip", configs={"retention.ms": wanted})])
            else:
                a.reset_configs([ConfigResource("TOPIC", "gzip", configs={"retention.ms": None})])
            got = a.describe_configs([ConfigResource("TOPIC", "gzip")], config_filter="all")
            want("retention.ms", got["topic"]["gzip"]["retention.ms"]["value"], wanted)


def admin_groups(brokers):
    c = reader(brokers, "gzip", group_id="described")
    read(c, 100)
    with admin(brokers) as a:
        d = a.describe_groups(["described"])["described"]
        want("state", d["group_state"], "Stable")
        want("members", len(d["members"]), 1)
        c.close()
        want("listed", "described" in [g["group_id"] for g in a.list_groups()], True)
        want("offset", a.list_group_offsets({"described": None})["described"][GZIP].offset, 100)
        a.delete_groups(["described"])
        want("listed after its deletion", "described" in [g["group_id"] for g in a.list_groups()], False)


def admin_offsets(brokers):
    with admin(brokers) as a:
        for spec, wanted in (OffsetSpec.EARLIEST, 0), (OffsetSpec.LATEST, 100), (OffsetSpec.MAX_TIMESTAMP, 99), (FIRST_TIMESTAMP + 10, 10):
            want(str(spec), a.list_partition_offsets({GZIP: spec})[GZIP].offset, wanted)
        a.alter_group_offsets("set", {GZIP: OffsetAndMetadata(42, "", -1)})
        want("committed", a.list_group_offsets({"set": [GZIP]})["set"][GZIP].offset, 42)


def admin_delete_records(brokers):
    at = TopicPartition("snappy", 0)
    with admin(brokers) as a:
        a.delete_records({at: 30})
    with reader(brokers) as c:
        want("start", c.beginning_offsets([at])[at], 30)


def member(brokers, group, topic, protocol, ended):
    c = KafkaConsumer(bootstrap_servers=brokers, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)

    class Listener(ConsumerRebalanceListener):
        def on_partitions_revoked(self, revoked):
            say("assigned")

        def on_partitions_assigned(self, assigned):
            say("assigned", *sorted(p.partition for p in c.assignment()))

    c.subscribe([topic], listener=Listener())
    while not ended.is_set():
        offsets = {}
        for at, some in c.poll(timeout_ms=200).items():
            for r in some:
                say("record", r.partition, r.offset)
            offsets[at] = OffsetAndMetadata(some[-1].offset + 1, "", -1)
        if not offsets:
            continue
        try:
            c.commit(offsets)
            for at, o in offsets.items():
                say("committed", at.partition, o.offset)
        except CommitFailedError as e:
            say("uncommitted", e)
    c.close()


if __name__ == "__main__":
    named = {"produce-" + codec: produce(codec) for codec in ("gzip", "lz4", "none", "snappy", "zstd")}
    checks.run(f"kafka-python {kafka.__version__}", named | {
        "consume": consume, "consume-by-time": consume_by_time, "consume-codecs": consume_codecs,
        "idempotent": idempotent, "transaction": transaction, "transaction-offsets": transaction_offsets, "transaction-fence": fence,
        "admin-topics": admin_topics, "admin-configs": admin_configs, "admin-groups": admin_groups, "admin-offsets": admin_offsets,
        "admin-delete-records": admin_delete_records,
    }, member)
