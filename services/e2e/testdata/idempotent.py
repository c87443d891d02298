# An idempotent producer with keys, headers and compression, and a consumer that stores its offsets by hand.
import sys

from confluent_kafka import Consumer, Producer

brokers, topic = sys.argv[1:3]
p = Producer({'bootstrap.servers': brokers, 'enable.idempotence': True, 'compression.type': 'zstd', 'linger.ms': 5})
failed = []
for i in range(5000):
    p.produce(topic, key=b'k%d' % (i % 10), value=b'v%d' % i, headers={'n': str(i)}, on_delivery=lambda e, m: e and failed.append(e))
    p.poll(0)
print('unflushed:', p.flush(60), 'failed:', failed)

c = Consumer({'bootstrap.servers': brokers, 'group.id': 'by-hand', 'auto.offset.reset': 'earliest',
              'enable.auto.commit': False, 'isolation.level': 'read_committed', 'enable.partition.eof': False})
c.subscribe([topic])
last, count = {}, 0
while count < 5000:
    for m in c.consume(500, timeout=1.0):
        assert m.error() is None, m.error()
        i = int(m.value()[1:])
        assert m.key() == b'k%d' % (i % 10), m.key()
        assert m.headers() == [('n', str(i).encode())], m.headers()
        assert last.get(m.key(), -1) < i, 'order of %s' % m.key()
        last[m.key()] = i
        count += 1
c.commit(asynchronous=False)
print('received:', count, 'committed:', sum(p.offset for p in c.committed(c.assignment(), timeout=30)))
c.close()
