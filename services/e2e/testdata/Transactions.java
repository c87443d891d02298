// Transactions of Apache Kafka's own client: committed and aborted ones, a fenced producer, offsets within a transaction.
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.serialization.*;

public class Transactions {
    static String brokers;

    static KafkaProducer<String, String> producer(String id) {
        Properties p = new Properties();
        p.put("bootstrap.servers", brokers);
        p.put("transactional.id", id);
        KafkaProducer<String, String> producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    static KafkaConsumer<String, String> consumer(String group, String level) {
        Properties p = new Properties();
        p.put("bootstrap.servers", brokers);
        p.put("group.id", group);
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("isolation.level", level);
        return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    }

    static List<String> read(KafkaConsumer<String, String> c, String topic, int count) {
        c.subscribe(List.of(topic));
        List<String> values = new ArrayList<>();
        int idle = 0;
        for (int i = 0; i < 60 && (values.size() < count || idle < 2); i++) {
            int before = values.size();
            c.poll(Duration.ofMillis(500)).forEach(r -> values.add(r.value()));
            idle = values.size() > before ? 0 : idle + 1;
        }
        return values;
    }

    public static void main(String[] args) throws Exception {
        brokers = args[0];
        String topic = args[1], out = args[2];
        KafkaProducer<String, String> old = producer("java");
        for (int i = 0; i < 40; i++) {
            old.beginTransaction();
            for (int j = 0; j < 25; j++) {
                old.send(new ProducerRecord<>(topic, "k" + j, (i % 2 == 0 ? "committed " : "aborted ") + i));
            }
            if (i % 2 == 0) {
                old.commitTransaction();
            } else {
                old.flush();
                old.abortTransaction();
            }
        }
        old.beginTransaction();
        old.send(new ProducerRecord<>(topic, "zombie")).get();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) brokers))) {
            System.out.println("ongoing: " + admin.describeTransactions(List.of("java")).description("java").get().state());
            System.out.println("listed: " + admin.listTransactions().all().get().size());
        }
        KafkaProducer<String, String> fresh = producer("java");
        boolean fenced = false;
        try {
            old.send(new ProducerRecord<>(topic, "zombie")).get();
            old.commitTransaction();
        } catch (ProducerFencedException | InvalidProducerEpochException e) {
            fenced = true;
        } catch (java.util.concurrent.ExecutionException e) {
            fenced = e.getCause() instanceof ProducerFencedException || e.getCause() instanceof InvalidProducerEpochException;
        }
        old.close(Duration.ZERO);
        System.out.println("fenced: " + fenced);

        KafkaConsumer<String, String> c = consumer("java", "read_committed");
        List<String> values = read(c, topic, 500);
        System.out.println("read_committed: " + values.size() + " only committed: " + values.stream().allMatch(v -> v.startsWith("committed")));
        fresh.beginTransaction();
        for (String v : values) {
            fresh.send(new ProducerRecord<>(out, v));
        }
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (TopicPartition tp : c.assignment()) {
            offsets.put(tp, new OffsetAndMetadata(c.position(tp)));
        }
        fresh.sendOffsetsToTransaction(offsets, c.groupMetadata());
        fresh.commitTransaction();
        System.out.println("offsets: " + c.committed(c.assignment()).equals(offsets));
        c.close();
        fresh.close();
        try (KafkaConsumer<String, String> u = consumer("uncommitted", "read_uncommitted")) {
            System.out.println("read_uncommitted: " + read(u, topic, 1001).stream().filter(v -> !v.equals("zombie")).count());
        }
        try (KafkaConsumer<String, String> m = consumer("moved", "read_committed")) {
            System.out.println("moved: " + read(m, out, 500).size());
        }
    }
}
