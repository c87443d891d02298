# Reads a topic as the one member of a group, with the client's default settings, until its input has something. It says which records came more than
# 40 ms after they were sent, when (milliseconds since 1970), every error, and at the end how many it has read.
import select
import sys
import time

from confluent_kafka import Consumer

from client_log import logged

brokers, topic = sys.argv[1], sys.argv[2]
c = Consumer(logged('consumer', {'bootstrap.servers': brokers, 'group.id': 'steady-python', 'auto.offset.reset': 'earliest'}))
moved = 0


def lost(_, partitions):
    global moved
    moved += 1


c.subscribe([topic], on_revoke=lost, on_lost=lost)
read = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    m = c.poll(0.1)
    if m is None:
        continue
    if m.error():
        print('error', m.error(), flush=True)
        continue
    if read == 0:
        print('begins', flush=True)
    read += 1
    sent = m.timestamp()[1]
    took = int(time.time() * 1000) - sent
    if took > 40:
        print('slow', sent, took, flush=True)
print('read', read, 'moved', moved, flush=True)
c.close()
