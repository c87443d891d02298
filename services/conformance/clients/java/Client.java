import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** Runs Apache Kafka's own client against a broker. */
public final class Client {
    private static final TopicPartition GZIP = new TopicPartition("gzip", 0);
    private static String brokers;

    private Client() {
    }

    public static void main(String[] args) throws Exception {
        Checks.watchLog();
        brokers = args[1];
        if (args[0].equals("member")) {
            member(args[2], args[3], args[4]);
            Checks.say("closed");
            return;
        }
        Checks.say("version", "kafka-clients", AppInfoParser.getVersion(), "on Java", System.getProperty("java.version"));
        Map<String, Checks.Check> checks = Checks.named();
        for (String codec : List.of("gzip", "lz4", "none", "snappy", "zstd")) {
            checks.put("produce-" + codec, () -> produce(codec));
        }
        checks.put("consume", Client::consume);
        checks.put("consume-by-time", Client::consumeByTime);
        checks.put("consume-codecs", Client::consumeCodecs);
        checks.put("idempotent", Client::idempotent);
        checks.put("transaction", Client::transaction);
        checks.put("transaction-offsets", Client::transactionOffsets);
        checks.put("transaction-fence", Client::fence);
        try (Admin admin = admin()) {
            Administration a = new Administration(admin);
            checks.put("admin-topics", a::topics);
            checks.put("admin-configs", a::configs);
            checks.put("admin-groups", a::groups);
            checks.put("admin-offsets", a::offsets);
            checks.put("admin-delete-records", a::deleteRecords);
            Checks.runAll(checks);
        }
    }

    static Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", (Object) brokers));
    }

    private static Map<String, Object> settings(String... more) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", brokers));
        for (int i = 0; i < more.length; i += 2) {
            all.put(more[i], more[i + 1]);
        }
        return all;
    }

    static KafkaProducer<byte[], byte[]> producer(String... more) {
        return new KafkaProducer<>(settings(more), new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(String... more) {
        Map<String, Object> all = settings(more);
        all.put("auto.offset.reset", "earliest");
        all.putIfAbsent("enable.auto.commit", "false");
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void produce(String codec) throws Exception {
        try (KafkaProducer<byte[], byte[]> p = producer("compression.type", codec)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < 100; i++) {
                sent.add(p.send(new ProducerRecord<>(codec, 0, Checks.FIRST_TIMESTAMP + i, Checks.key(i), Checks.value(i), Checks.headers(i))));
            }
            for (int i = 0; i < 100; i++) {
                Checks.want("offset", sent.get(i).get(Checks.LIMIT_SECONDS, TimeUnit.SECONDS).offset(), (long) i);
            }
        }
    }

    static List<ConsumerRecord<byte[], byte[]>> read(KafkaConsumer<byte[], byte[]> c, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < Checks.LIMIT_SECONDS && records.size() < count; i++) {
            c.poll(Duration.ofSeconds(1)).forEach(records::add);
        }
        Checks.want("records", records.size(), count);
        return records;
    }

    private static void compare(List<ConsumerRecord<byte[], byte[]>> records, int first) {
        for (int i = 0; i < records.size(); i++) {
            Checks.same((first + i) % 100, records.get(i));
        }
    }

    private static void consume() {
        try (KafkaConsumer<byte[], byte[]> c = consumer()) {
            c.assign(List.of(GZIP));
            c.seekToBeginning(List.of(GZIP));
            compare(read(c, 100), 0);
        }
    }

    private static void consumeByTime() {
        try (KafkaConsumer<byte[], byte[]> c = consumer()) {
            c.assign(List.of(GZIP));
            long offset = c.offsetsForTimes(Map.of(GZIP, Checks.FIRST_TIMESTAMP + 50)).get(GZIP).offset();
            Checks.want("offset", offset, 50L);
            c.seek(GZIP, offset);
            compare(read(c, 50), 50);
        }
    }

    private static void consumeCodecs() {
        for (String protocol : List.of("classic", "consumer")) {
            try (KafkaConsumer<byte[], byte[]> c = consumer("group.id", "codecs-" + protocol, "group.protocol", protocol)) {
                c.subscribe(List.of("golden"));
                compare(read(c, 500), 0);
            }
        }
    }

    private static void createTopic(String name, int partitions) throws Exception {
        try (Admin a = admin()) {
            a.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get();
        }
    }

    /** What is sent in order has to be in order in every partition, once. The client is idempotent unless told otherwise. */
    private static void idempotent() throws Exception {
        createTopic("idempotent", 3);
        try (KafkaProducer<byte[], byte[]> p = producer()) {
            for (int i = 0; i < 3000; i++) {
                p.send(new ProducerRecord<>("idempotent", Checks.bytes("" + i % 7), Checks.bytes("" + i)));
            }
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("group.id", "idempotent")) {
            c.subscribe(List.of("idempotent"));
            int[] last = {-7, -6, -5, -4, -3, -2, -1};
            for (ConsumerRecord<byte[], byte[]> r : read(c, 3000)) {
                int n = Integer.parseInt(new String(r.value()));
                Checks.want("what follows " + last[n % 7], n, last[n % 7] + 7);
                last[n % 7] = n;
            }
        }
    }

    private static KafkaProducer<byte[], byte[]> transactional(String id) {
        KafkaProducer<byte[], byte[]> p = producer("transactional.id", id);
        p.initTransactions();
        return p;
    }

    private static void transaction() throws Exception {
        createTopic("transactions", 2);
        try (KafkaProducer<byte[], byte[]> p = transactional("transaction")) {
            for (int i = 0; i < 10; i++) {
                p.beginTransaction();
                for (int j = 0; j < 20; j++) {
                    p.send(new ProducerRecord<>("transactions", Checks.bytes("" + j), Checks.bytes((i % 2 == 0 ? "committed " : "aborted ") + i)));
                }
                if (i % 2 == 0) {
                    p.commitTransaction();
                } else {
                    p.flush();
                    p.abortTransaction();
                }
            }
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("group.id", "committed", "isolation.level", "read_committed")) {
            c.subscribe(List.of("transactions"));
            Checks.want("aborted", read(c, 100).stream().filter(r -> !new String(r.value()).startsWith("committed")).count(), 0L);
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("group.id", "uncommitted")) {
            c.subscribe(List.of("transactions"));
            read(c, 200);
        }
    }

    private static void transactionOffsets() {
        for (String protocol : List.of("classic", "consumer")) {
            for (boolean commit : List.of(false, true)) {
                try (KafkaProducer<byte[], byte[]> p = transactional("mover"); KafkaConsumer<byte[], byte[]> c = consumer("group.id", "movers-" + protocol, "group.protocol", protocol)) {
                    c.subscribe(List.of("gzip"));
                    p.beginTransaction();
                    read(c, 100).forEach(r -> p.send(new ProducerRecord<>("moved", r.value())));
                    p.sendOffsetsToTransaction(Map.of(GZIP, new OffsetAndMetadata(c.position(GZIP))), c.groupMetadata());
                    if (commit) {
                        p.commitTransaction();
                    } else {
                        p.abortTransaction();
                    }
                    OffsetAndMetadata got = c.committed(java.util.Set.of(GZIP)).get(GZIP);
                    Checks.want("committed offset", got == null ? null : got.offset(), commit ? 100L : null);
                }
            }
        }
    }

    private static void fence() throws Exception {
        try (KafkaProducer<byte[], byte[]> old = transactional("fenced")) {
            old.beginTransaction();
            old.send(new ProducerRecord<>("transactions", Checks.bytes("zombie"))).get();
            transactional("fenced").close();
            try {
                old.commitTransaction();
            } catch (ProducerFencedException | InvalidProducerEpochException e) {
                return;
            }
            throw new AssertionError("the first producer was not fenced");
        }
    }

    private static void member(String group, String topic, String protocol) throws Exception {
        Thread ended = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    // what comes before the end says nothing
                }
            } catch (java.io.IOException e) {
                Checks.say("log", e);
            }
        });
        ended.setDaemon(true);
        ended.start();
        try (KafkaConsumer<byte[], byte[]> c = consumer("group.id", group, "group.protocol", protocol)) {
            Runnable tell = () -> Checks.say("assigned", c.assignment().stream().map(p -> "" + p.partition()).sorted().collect(Collectors.joining(",")));
            c.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    tell.run();
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    Checks.say("assigned", c.assignment().stream().filter(p -> !partitions.contains(p)).map(p -> "" + p.partition()).sorted().collect(Collectors.joining(",")));
                }

                @Override
                public void onPartitionsLost(Collection<TopicPartition> partitions) {
                    Checks.say("lost", partitions);
                }
            });
            while (ended.isAlive()) {
                ConsumerRecords<byte[], byte[]> records = c.poll(Duration.ofMillis(200));
                records.forEach(r -> Checks.say("record", r.partition(), r.offset()));
                if (records.isEmpty()) {
                    continue;
                }
                try {
                    c.commitSync(records.nextOffsets());
                    records.nextOffsets().forEach((p, o) -> Checks.say("committed", p.partition(), o.offset()));
                } catch (CommitFailedException | RebalanceInProgressException e) {
                    Checks.say("uncommitted", e);
                }
            }
        }
    }
}
