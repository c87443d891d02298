"""Runs aiokafka against a broker."""
import asyncio
import logging

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError, IllegalGenerationError, KafkaError, ProducerFenced, RebalanceInProgressError, for_code

import checks
from checks import FIRST_TIMESTAMP, LIMIT, say, want

checks.watch("aiokafka")
GZIP = TopicPartition("gzip", 0)


def taking_time(check):
    """Makes a check of a coroutine."""
    return lambda brokers: asyncio.run(asyncio.wait_for(check(brokers), LIMIT))


def produce(codec):
    async def check(brokers):
        async with AIOKafkaProducer(bootstrap_servers=brokers, compression_type=None if codec == "none" else codec) as p:
            sent = [await p.send(codec, key=checks.key(i), value=checks.value(i), headers=checks.headers(i), timestamp_ms=FIRST_TIMESTAMP + i, partition=0)
                    for i in range(100)]
            want("offsets", [(await s).offset for s in sent], list(range(100)))
    return taking_time(check)


async def read(c, count):
    records = []
    while len(records) < count:
        for some in (await c.getmany(timeout_ms=1000)).values():
            records.extend(some)
    want("records", len(records), count)
    return records


def compare(records, first):
    for i, r in enumerate(records, first):
        checks.same(i % 100, r.key, r.value, r.headers, r.timestamp)


def reader(brokers, *topics, **more):
    return AIOKafkaConsumer(*topics, bootstrap_servers=brokers, auto_offset_reset="earliest", **more)


async def consume(brokers):
    async with reader(brokers) as c:
        c.assign([GZIP])
        await c.seek_to_beginning()
        compare(await read(c, 100), 0)


async def consume_by_time(brokers):
    async with reader(brokers) as c:
        c.assign([GZIP])
        found = (await c.offsets_for_times({GZIP: FIRST_TIMESTAMP + 50}))[GZIP]
        want("offset", found.offset, 50)
        c.seek(GZIP, found.offset)
        compare(await read(c, 50), 50)


async def consume_codecs(brokers):
    async with reader(brokers, "golden") as c:
        compare(await read(c, 500), 0)


class Admin(AIOKafkaAdminClient):
    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *exception):
        await self.close()


def admin(brokers):
    return Admin(bootstrap_servers=brokers)


def succeeded(response, field):
    for result in getattr(response, field):
        if result[1] != 0:
            raise for_code(result[1])(result)


async def idempotent(brokers):
    async with admin(brokers) as a:
        succeeded(await a.create_topics([NewTopic("idempotent", 3, 1)]), "topic_errors")
    async with AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True) as p:
        for s in [await p.send("idempotent", key=b"%d" % (i % 7), value=b"%d" % i) for i in range(3000)]:
            await s
    async with reader(brokers, "idempotent") as c:
        checks.in_order(int(r.value) for r in await read(c, 3000))


def transactional(brokers, name):
    return AIOKafkaProducer(bootstrap_servers=brokers, transactional_id=name)


async def transaction(brokers):
    async with admin(brokers) as a:
        succeeded(await a.create_topics([NewTopic("transactions", 2, 1)]), "topic_errors")
    async with transactional(brokers, "transaction") as p:
        for i in range(10):
            await p.begin_transaction()
            for j in range(20):
                await p.send("transactions", key=b"%d" % j, value=b"%s %d" % (b"aborted" if i % 2 else b"committed", i))
            if i % 2:
                await p.flush()
                await p.abort_transaction()
            else:
                await p.commit_transaction()
    async with reader(brokers, "transactions", isolation_level="read_committed") as c:
        want("aborted", [r.value for r in await read(c, 100) if not r.value.startswith(b"committed")], [])
    async with reader(brokers, "transactions") as c:
        await read(c, 200)


async def transaction_offsets(brokers):
    for end, wanted in ("abort", None), ("commit", 100):
        async with reader(brokers, "gzip", group_id="movers", enable_auto_commit=False) as c, transactional(brokers, "mover") as p:
            await p.begin_transaction()
            for r in await read(c, 100):
                await p.send("moved", key=b"moved", value=r.value)
            await p.send_offsets_to_transaction({GZIP: await c.position(GZIP)}, "movers")
            if end == "abort":
                await p.abort_transaction()
            else:
                await p.commit_transaction()
            want("committed offset", await c.committed(GZIP), wanted)


async def fence(brokers):
    async with transactional(brokers, "fenced") as old:
        await old.begin_transaction()
        await old.send_and_wait("transactions", value=b"zombie")
        async with transactional(brokers, "fenced"):
            pass
        try:
            await old.commit_transaction()
        except ProducerFenced:
            return
        raise AssertionError("the first producer was not fenced")


async def admin_topics(brokers):
    async with admin(brokers) as a:
        succeeded(await a.create_topics([NewTopic("administered", 3, 1, topic_configs={"retention.ms": "86400000"})]), "topic_errors")
        again = await a.create_topics([NewTopic("administered", 3, 1)])
        want("error", again.topic_errors[0][1], 36)
        succeeded(await a.create_partitions({"administered": NewPartitions(5)}), "topic_errors")
        want("partitions", len((await a.describe_topics(["administered"]))[0]["partitions"]), 5)
        succeeded(await a.delete_topics(["administered"]), "topic_error_codes")
        want("there after its deletion", "administered" in await a.list_topics(), False)
        want("nodes", len((await a.describe_cluster())["brokers"]), 1)


async def admin_configs(brokers):
    async with admin(brokers) as a:
        for value, wanted in ("123456789", "123456789"), (None, "604800000"):  # what is not named goes back to its default
            changed = {"retention.ms": value} if value else {"flush.ms": "1000"}
            await a.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "gzip", configs=changed)])
            (got,) = await a.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "gzip")])
            values = {entry[0]: entry[1] for entry in got.resources[0][4]}
            want("retention.ms", values["retention.ms"], wanted)


async def admin_groups(brokers):
    async with admin(brokers) as a:
        async with reader(brokers, "gzip", group_id="described") as c:
            await read(c, 100)
            (d,) = await a.describe_consumer_groups(["described"])
            want("state", d.groups[0][2], "Stable")
            want("members", len(d.groups[0][5]), 1)
        want("listed", "described" in [g[0] for g in await a.list_consumer_groups()], True)
        want("offset", (await a.list_consumer_group_offsets("described"))[GZIP].offset, 100)


async def admin_offsets(brokers):
    async with reader(brokers, group_id="set", enable_auto_commit=False) as c:
        c.assign([GZIP])
        want("earliest", (await c.beginning_offsets([GZIP]))[GZIP], 0)
        want("latest", (await c.end_offsets([GZIP]))[GZIP], 100)
        await c.commit({GZIP: 42})
        want("committed", await c.committed(GZIP), 42)


async def admin_delete_records(brokers):
    at = TopicPartition("snappy", 0)
    async with admin(brokers) as a:
        await a.delete_records({at: RecordsToDelete(30)})
    async with reader(brokers) as c:
        want("start", (await c.beginning_offsets([at]))[at], 30)


async def be_member(brokers, group, topic, ended):
    c = reader(brokers, group_id=group, enable_auto_commit=False)

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked):
            say("assigned")

        async def on_partitions_assigned(self, assigned):
            say("assigned", *sorted(p.partition for p in c.assignment()))

    c.subscribe([topic], listener=Listener())
    async with c:
        while not ended.is_set():
            offsets = {}
            for at, some in (await c.getmany(timeout_ms=200)).items():
                for r in some:
                    say("record", r.partition, r.offset)
                offsets[at] = some[-1].offset + 1
            if not offsets:
                continue
            try:
                await c.commit(offsets)
                for at, o in offsets.items():
                    say("committed", at.partition, o)
            except (CommitFailedError, IllegalGenerationError, RebalanceInProgressError) as e:
                say("uncommitted", e)


def member(brokers, group, topic, protocol, ended):
    asyncio.run(be_member(brokers, group, topic, ended))


if __name__ == "__main__":
    named = {"produce-" + codec: produce(codec) for codec in ("gzip", "lz4", "none", "snappy", "zstd")}
    checks.run(f"aiokafka {aiokafka.__version__}", named | {name: taking_time(check) for name, check in {
        "consume": consume, "consume-by-time": consume_by_time, "consume-codecs": consume_codecs,
        "idempotent": idempotent, "transaction": transaction, "transaction-offsets": transaction_offsets, "transaction-fence": fence,
        "admin-topics": admin_topics, "admin-configs": admin_configs, "admin-groups": admin_groups, "admin-offsets": admin_offsets,
        "admin-delete-records": admin_delete_records,
    }.items()}, member)
