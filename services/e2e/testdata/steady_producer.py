# Sends a record every 5 ms with the client's default settings, until its input has something. It says which acknowledgements took above 40 ms, when
# the record was sent (milliseconds since 1970), every error, and at the end how many were sent and acknowledged.
import select
import sys
import time

from confluent_kafka import Producer

from client_log import logged

brokers, topic, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
acknowledged = 0


def delivered(began):
    def call(error, _):
        global acknowledged
        took = int(time.time() * 1000) - began
        if error:
            print('error', error, flush=True)
        else:
            acknowledged += 1
        if took > 40:
            print('slow', began, took, flush=True)
    return call


p = Producer(logged('producer', {'bootstrap.servers': brokers, 'enable.idempotence': True}))
p.list_topics(topic, timeout=30)
print('begins', flush=True)
sent = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    p.produce(topic, partition=sent % partitions, value=b'python %d' % sent, on_delivery=delivered(int(time.time() * 1000)))
    sent += 1
    p.poll(0.005)
p.flush(60)
print('sent', sent, 'acknowledged', acknowledged, flush=True)
