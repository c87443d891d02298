# The producer that every tutorial shows.
import sys

from confluent_kafka import Producer

p = Producer({'bootstrap.servers': sys.argv[1]})


def delivery_report(err, msg):
    """ Called once for each message produced to indicate delivery result. """
    if err is not None:
        print('Message delivery failed: {}'.format(err))
    else:
        print('Message delivered to {} [{}] @ {}'.format(msg.topic(), msg.partition(), msg.offset()))


for data in ['first', 'second', 'third'] + ['message %d' % i for i in range(1000)]:
    # Trigger any available delivery report callbacks from previous produce() calls
    p.poll(0)
    p.produce(sys.argv[2], data.encode('utf-8'), callback=delivery_report)

# Wait for any outstanding messages to be delivered and delivery report callbacks to be triggered.
p.flush()
