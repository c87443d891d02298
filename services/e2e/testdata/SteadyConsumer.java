import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * Reads a topic as the one member of a group, with the client's default settings, until its input has something. It says which records came more
 * than 40 ms after they were sent, when (milliseconds since 1970), every error, and at the end how many it has read.
 * Arguments: bootstrap servers, topic.
 */
public class SteadyConsumer {
    private static void say(String text) {
        System.out.println(text);
        System.out.flush();
    }

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("group.id", "steady-java");
        settings.put("auto.offset.reset", "earliest");
        settings.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        settings.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        long read = 0;
        int[] moved = {0};
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings)) {
            consumer.subscribe(List.of(args[1]), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    moved[0] += partitions.isEmpty() ? 0 : 1;
                }

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                }
            });
            while (System.in.available() == 0) {
                try {
                    for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                        if (read++ == 0) {
                            say("begins");
                        }
                        long took = System.currentTimeMillis() - record.timestamp();
                        if (took > 40) {
                            say("slow " + record.timestamp() + " " + took);
                        }
                    }
                } catch (Exception error) {
                    say("error " + error);
                }
            }
            say("read " + read + " moved " + moved[0]);
        }
    }
}
