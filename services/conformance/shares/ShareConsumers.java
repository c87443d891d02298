import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * A share consumer that does as its arguments say: bootstrap servers, group, topic, mode, how many records to take, and for how many
 * milliseconds at most. It writes "record PARTITION OFFSET DELIVERIES VALUE" for each record, and "committed PARTITION OFFSET" when what it
 * said of one is known to be durable.
 *
 * Modes: implicit (the next poll accepts), accept, release-once (the first time, then accept), release, reject, hold (takes records and keeps
 * them until it is killed).
 */
public class ShareConsumers {
    public static void main(String[] args) throws Exception {
        String mode = args[3];
        int wanted = Integer.parseInt(args[4]);
        long until = System.currentTimeMillis() + Long.parseLong(args[5]);
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[1]);
        config.put("key.deserializer", StringDeserializer.class.getName());
        config.put("value.deserializer", StringDeserializer.class.getName());
        config.put("share.acknowledgement.mode", mode.equals("implicit") ? "implicit" : "explicit");
        config.put("max.poll.records", "50");
        int taken = 0;
        try (KafkaShareConsumer<String, String> consumer = new KafkaShareConsumer<>(config)) {
            consumer.subscribe(List.of(args[2]));
            System.out.println("subscribed");
            while (taken < wanted && System.currentTimeMillis() < until) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                List<ConsumerRecord<String, String>> done = new ArrayList<>();
                for (ConsumerRecord<String, String> r : records) {
                    short deliveries = r.deliveryCount().get();
                    System.out.println("record " + r.partition() + " " + r.offset() + " " + deliveries + " " + r.value());
                    taken++;
                    done.add(r);
                    switch (mode) {
                        case "accept" -> consumer.acknowledge(r, AcknowledgeType.ACCEPT);
                        case "release-once" -> consumer.acknowledge(r, deliveries == 1 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
                        case "release" -> consumer.acknowledge(r, AcknowledgeType.RELEASE);
                        case "reject" -> consumer.acknowledge(r, AcknowledgeType.REJECT);
                        default -> { }
                    }
                }
                if (mode.equals("hold") && taken > 0) {
                    System.out.println("holding");
                    Thread.sleep(Long.MAX_VALUE);
                }
                if (!done.isEmpty()) {
                    Map<TopicIdPartition, Optional<KafkaException>> committed = consumer.commitSync();
                    for (Map.Entry<TopicIdPartition, Optional<KafkaException>> e : committed.entrySet()) {
                        if (e.getValue().isPresent()) {
                            System.out.println("error " + e.getKey().partition() + " " + e.getValue().get());
                            continue;
                        }
                        for (ConsumerRecord<String, String> r : done) {
                            if (r.partition() == e.getKey().partition()) {
                                System.out.println("committed " + r.partition() + " " + r.offset());
                            }
                        }
                    }
                }
            }
        }
        System.out.println("closed");
    }
}
