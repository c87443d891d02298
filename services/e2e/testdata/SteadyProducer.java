import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * Sends a record every 5 ms with the client's default settings, until its input ends. It says which acknowledgements took above 40 ms, when the
 * record was sent (milliseconds since 1970), every error, and at the end how many were sent and acknowledged.
 * Arguments: bootstrap servers, topic, partitions.
 */
public class SteadyProducer {
    private static synchronized void say(String text) {
        System.out.println(text);
        System.out.flush();
    }

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        settings.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        int partitions = Integer.parseInt(args[2]);
        AtomicLong acknowledged = new AtomicLong();
        long sent = 0;
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings)) {
            producer.partitionsFor(args[1]);
            say("begins");
            for (; System.in.available() == 0; sent++) {
                long began = System.currentTimeMillis();
                producer.send(new ProducerRecord<>(args[1], (int) (sent % partitions), null, "java " + sent), (metadata, error) -> {
                    long took = System.currentTimeMillis() - began;
                    if (error != null) {
                        say("error " + error);
                    } else {
                        acknowledged.incrementAndGet();
                    }
                    if (took > 40) {
                        say("slow " + began + " " + took);
                    }
                });
                Thread.sleep(5);
            }
        }
        say("sent " + sent + " acknowledged " + acknowledged.get());
    }
}
