"""A member of a group under the consumer protocol that tells what becomes of it, a line for each thing.

Arguments: bootstrap servers, group, topic. Input: commit, quit.
"""
import sys
import threading

from confluent_kafka import Consumer, KafkaError, KafkaException

bootstrap, group, topic = sys.argv[1:4]
commands = []


def read():
    for line in sys.stdin:
        commands.append(line.strip())
    commands.append("quit")


def say(*what):
    print(*what, flush=True)


consumer = Consumer({
    "bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer", "auto.offset.reset": "earliest",
    "enable.auto.commit": False, "reconnect.backoff.max.ms": 500,
})
threading.Thread(target=read, daemon=True).start()
consumer.subscribe(
    [topic],
    on_assign=lambda c, partitions: say("assigned", len(partitions)),
    on_revoke=lambda c, partitions: say("revoked", len(partitions)),
    on_lost=lambda c, partitions: say("lost", len(partitions)),
)
while True:
    message = consumer.poll(0.1)
    if message is not None and message.error() is None:
        say("record", message.value().decode())
    if commands:
        if commands.pop(0) == "quit":
            break
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as e:
            if e.args[0].code() != KafkaError._NO_OFFSET:
                say("failed", e)
        say("committed", len(consumer.assignment()))
consumer.close()
say("closed")
