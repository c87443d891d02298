# The consumer that every tutorial shows; it ends after as many messages as it is told.
import sys

from confluent_kafka import Consumer

c = Consumer({
    'bootstrap.servers': sys.argv[1],
    'group.id': 'mygroup',
    'auto.offset.reset': 'earliest'
})

c.subscribe([sys.argv[2]])

left = int(sys.argv[3])
while left > 0:
    msg = c.poll(1.0)

    if msg is None:
        continue
    if msg.error():
        print("Consumer error: {}".format(msg.error()))
        continue

    print('Received message: {}'.format(msg.value().decode('utf-8')))
    left -= 1

c.commit(asynchronous=False)
c.close()
