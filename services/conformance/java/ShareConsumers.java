import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * One share consumer that does as its arguments say and writes a line for each record: partition, offset, delivery count, value.
 *
 * Arguments: bootstrap servers, group, topic, mode, how many records to take, for how many milliseconds at most.
 *
 * Modes: implicit (the next poll accepts), accept, release (each record once, then accept), reject, hold (takes records, says so, and
 * keeps them until it is killed).
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
            consumer.setAcknowledgementCommitCallback((offsets, error) -> {
                if (error != null) {
                    System.out.println("error " + error);
                }
            });
            consumer.subscribe(List.of(args[2]));
            System.out.println("subscribed");
            while (taken < wanted && System.currentTimeMillis() < until) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<String, String> r : records) {
                    System.out.println("record " + r.partition() + " " + r.offset() + " " + r.deliveryCount().get() + " " + r.value());
                    taken++;
                    switch (mode) {
                        case "accept" -> consumer.acknowledge(r, AcknowledgeType.ACCEPT);
                        case "release" -> consumer.acknowledge(r, r.deliveryCount().get() == 1 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
                        case "reject" -> consumer.acknowledge(r, AcknowledgeType.REJECT);
                        default -> { }
                    }
                }
                if (mode.equals("hold") && taken > 0) {
                    System.out.println("holding");
                    Thread.sleep(Long.MAX_VALUE);
                }
                if (!records.isEmpty()) {
                    consumer.commitSync().forEach((partition, error) -> error.ifPresent(e -> System.out.println("error " + partition + " " + e)));
                }
            }
        }
        System.out.println("closed");
    }
}
