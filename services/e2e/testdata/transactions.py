# Transactions of Confluent's client: committed and aborted ones, a fenced producer, and offsets within a transaction.
import sys

from confluent_kafka import Consumer, KafkaException, Producer

brokers, topic, out = sys.argv[1:4]


def producer(transactional_id):
    p = Producer({'bootstrap.servers': brokers, 'transactional.id': transactional_id, 'linger.ms': 5})
    p.init_transactions(60)
    return p


def read(topic, level, count, group):
    c = Consumer({'bootstrap.servers': brokers, 'group.id': group, 'auto.offset.reset': 'earliest', 'enable.auto.commit': False,
                  'isolation.level': level, 'enable.partition.eof': False})
    c.subscribe([topic])
    values, idle = [], 0
    while len(values) < count or idle < 2:
        some = c.consume(500, timeout=1.0)
        idle = 0 if some else idle + 1
        for m in some:
            assert m.error() is None, m.error()
            values.append(m.value())
        if idle > 30:
            break
    return c, values


p = producer('python')
counts = {'committed': 0, 'aborted': 0}
for i in range(20):
    p.begin_transaction()
    kind = 'committed' if i % 2 == 0 else 'aborted'
    for j in range(50):
        p.produce(topic, key=b'k%d' % j, value=b'%s %d' % (kind.encode(), i))
        counts[kind] += 1
    if kind == 'committed':
        p.commit_transaction(60)
    else:
        p.flush(60)
        p.abort_transaction(60)

# Another incarnation fences the first.
p.begin_transaction()
p.produce(topic, value=b'zombie')
p.flush(60)
q = producer('python')
try:
    p.commit_transaction(60)
    fenced = False
except KafkaException as e:
    fenced = e.args[0].fatal() or e.args[0].txn_requires_abort()
print('committed: %d aborted: %d fenced: %s' % (counts['committed'], counts['aborted'], fenced))

c, values = read(topic, 'read_committed', counts['committed'], 'committed')
print('read_committed: %d only committed: %s' % (len(values), all(v.startswith(b'committed') for v in values)))

# Consume, transform, produce.
q.begin_transaction()
for v in values:
    q.produce(out, value=v)
q.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 60)
q.commit_transaction(60)
assert sum(o.offset for o in c.committed(c.assignment(), timeout=30)) >= len(values)
c.close()

u, values = read(topic, 'read_uncommitted', counts['committed'] + counts['aborted'], 'uncommitted')
u.close()
print('read_uncommitted: %d' % len([v for v in values if v != b'zombie']))
o, moved = read(out, 'read_committed', counts['committed'], 'moved')
o.close()
print('moved: %d' % len(moved))
