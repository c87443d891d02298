import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * One of Java's clients as a process of a history: it writes its events, one JSON object a line, on standard output, calls before they are made. It ends
 * in order when its standard input does; it may be killed at any moment.
 *
 * <p>Arguments: role (producer, transactor, member, classic-member), process, first value, first transaction, rate a second, seed, topics with commas, bootstrap.servers, id.
 */
public final class NemesisClient {
  private static final int PARTITIONS = 4;
  private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);
  private static volatile boolean stopping;

  private final String process;
  private final Random random;
  private final String[] topics;
  private final String bootstrap;
  private final String id;
  private final int rate;
  private long nextValue;
  private long nextTransaction;

  private NemesisClient(String[] args) {
    process = args[1];
    nextValue = Long.parseLong(args[2]);
    nextTransaction = Long.parseLong(args[3]);
    rate = Integer.parseInt(args[4]);
    random = new Random(Long.parseLong(args[5]));
    topics = args[6].split(",");
    bootstrap = args[7];
    id = args[8];
  }

  public static void main(String[] args) throws Exception {
    Thread watcher = new Thread(() -> {
      try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
        while (in.readLine() != null) {
          // Nothing is said; only the end counts.
        }
      } catch (java.io.IOException e) {
        // The same as the end.
      }
      stopping = true;
    });
    watcher.setDaemon(true);
    watcher.start();
    NemesisClient client = new NemesisClient(args);
    switch (args[0]) {
      case "producer" -> client.produce();
      case "transactor" -> client.transact();
      case "member" -> client.consume("consumer");
      case "classic-member" -> client.consume("classic");
      default -> throw new IllegalArgumentException(args[0]);
    }
  }

  /** The bytes of a value: its number, and filling whose length and kind follow from it. */
  static byte[] payload(long value) {
    String digits = value + ":";
    int filling = (int) (value % 97 == 0 ? value * 31 % 20_000 : value * 7919 % 300);
    StringBuilder text = new StringBuilder(digits);
    for (int i = 0; i < filling; i++) {
      text.append(digits.charAt(i % digits.length()));
    }
    return text.toString().getBytes(StandardCharsets.US_ASCII);
  }

  static long valueOf(byte[] record) {
    if (record == null) {
      return 0;
    }
    String text = new String(record, StandardCharsets.US_ASCII);
    int colon = text.indexOf(':');
    if (colon <= 0 || colon > 18) {
      return 0;
    }
    try {
      long value = Long.parseLong(text.substring(0, colon));
      return Arrays.equals(record, payload(value)) ? value : 0;
    } catch (NumberFormatException e) {
      return 0;
    }
  }

  /** Writes an event; what is in parts is JSON already. */
  private void event(String kind, String status, long invoke, long complete, String more) {
    synchronized (OUT) {
      OUT.print("{\"process\":" + process + ",\"kind\":\"" + kind + "\",\"status\":\"" + status + "\",\"invoke\":" + invoke + ",\"complete\":" + complete + more
          + ",\"note\":\"java " + id + "\"}\n");
      OUT.flush();
    }
  }

  private static String part(String topic, int partition, String rest) {
    return "{\"partition\":\"" + topic + "/" + partition + "\"" + rest + "}";
  }

  private Properties properties() {
    Properties p = new Properties();
    p.put("bootstrap.servers", bootstrap);
    p.put("client.id", id);
    p.put("reconnect.backoff.max.ms", "1000");
    p.put("key.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
    p.put("value.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
    p.put("key.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
    p.put("value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
    return p;
  }

  /** Hands a record over; its event follows when it is acknowledged, or has failed, which proves nothing. */
  private java.util.concurrent.Future<?> send(KafkaProducer<byte[], byte[]> producer, long transaction) {
    long value = nextValue++;
    String topic = topics[random.nextInt(topics.length)];
    int partition = random.nextInt(PARTITIONS);
    String of = transaction == 0 ? "" : ",\"txn\":" + transaction;
    long invoke = System.nanoTime();
    event("send", "invoked", invoke, 0, of + ",\"parts\":[" + part(topic, partition, ",\"records\":[[-1," + value + "]]") + "]");
    return producer.send(new ProducerRecord<>(topic, partition, null, payload(value)), (metadata, failure) -> {
      long offset = failure == null ? metadata.offset() : -1;
      event("send", failure == null ? "ok" : "unknown", invoke, System.nanoTime(),
          of + ",\"parts\":[" + part(topic, partition, ",\"records\":[[" + offset + "," + value + "]]") + "]");
    });
  }

  private void pace(int records) throws InterruptedException {
    Thread.sleep((long) (-Math.log(1 - random.nextDouble()) * records * 1000 / rate));
  }

  private void produce() throws Exception {
    try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties())) {
      while (!stopping) {
        int burst = 1 + random.nextInt(6);
        for (int i = 0; i < burst; i++) {
          send(producer, 0);
        }
        pace(burst);
      }
    }
  }

  private void transact() throws Exception {
    Properties p = properties();
    p.put("transactional.id", id);
    p.put("transaction.timeout.ms", "10000");
    p.put("max.block.ms", "30000");
    try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(p)) {
      producer.initTransactions();
      while (!stopping) {
        long transaction = nextTransaction++;
        int records = 1 + random.nextInt(6);
        producer.beginTransaction();
        boolean commit = random.nextInt(4) > 0;
        try {
          List<java.util.concurrent.Future<?>> sent = new ArrayList<>();
          for (int i = 0; i < records; i++) {
            sent.add(send(producer, transaction));
          }
          for (java.util.concurrent.Future<?> future : sent) {
            future.get();
          }
        } catch (java.util.concurrent.ExecutionException e) {
          commit = false;
        }
        long invoke = System.nanoTime();
        String end = ",\"txn\":" + transaction + ",\"commit\":" + commit;
        event("end", "invoked", invoke, 0, end);
        try {
          if (commit) {
            producer.commitTransaction();
          } else {
            producer.abortTransaction();
          }
        } catch (RuntimeException e) {
          event("end", "unknown", invoke, System.nanoTime(), end);
          return;
        }
        event("end", "ok", invoke, System.nanoTime(), end);
        pace(records);
      }
    }
  }

  private void consume(String protocol) throws Exception {
    Properties p = properties();
    String group = "java-" + protocol;
    p.put("group.id", group);
    p.put("group.protocol", protocol);
    p.put("enable.auto.commit", "false");
    p.put("auto.offset.reset", "earliest");
    p.put("isolation.level", "read_committed");
    if (protocol.equals("classic")) {
      p.put("session.timeout.ms", "8000");
      p.put("heartbeat.interval.ms", "1000");
    }
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(p)) {
      consumer.subscribe(Arrays.asList(topics), new Positions(consumer, group));
      while (!stopping) {
        poll(consumer, group);
      }
    }
  }

  private void poll(Consumer<byte[], byte[]> consumer, String group) {
    long invoke = System.nanoTime();
    ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(500));
    if (records.isEmpty()) {
      return;
    }
    long complete = System.nanoTime();
    List<String> parts = new ArrayList<>();
    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
    for (TopicPartition tp : records.partitions()) {
      StringBuilder list = new StringBuilder();
      for (ConsumerRecord<byte[], byte[]> r : records.records(tp)) {
        list.append(list.length() == 0 ? "" : ",").append("[").append(r.offset()).append(",").append(valueOf(r.value())).append("]");
        offsets.put(tp, new OffsetAndMetadata(r.offset() + 1));
      }
      parts.add(part(tp.topic(), tp.partition(), ",\"records\":[" + list + "]"));
    }
    String of = ",\"committed\":true,\"group\":\"" + group + "\"";
    event("poll", "ok", invoke, complete, of + ",\"parts\":[" + String.join(",", parts) + "]");
    if (random.nextInt(5) == 0) {
      return;
    }
    List<String> committed = new ArrayList<>();
    offsets.forEach((tp, offset) -> committed.add(part(tp.topic(), tp.partition(), ",\"offset\":" + offset.offset())));
    long began = System.nanoTime();
    String status = "ok";
    try {
      consumer.commitSync(offsets, Duration.ofSeconds(5));
    } catch (RuntimeException e) {
      status = "unknown";
    }
    event("commit", status, began, System.nanoTime(), ",\"group\":\"" + group + "\",\"parts\":[" + String.join(",", committed) + "]");
  }

  /** Writes down what the member is assigned. */
  private final class Positions implements ConsumerRebalanceListener {
    private final Consumer<byte[], byte[]> consumer;
    private final String group;

    Positions(Consumer<byte[], byte[]> consumer, String group) {
      this.consumer = consumer;
      this.group = group;
    }

    private void tell(String kind, Collection<TopicPartition> partitions) {
      if (partitions.isEmpty()) {
        return;
      }
      List<String> parts = new ArrayList<>();
      for (TopicPartition tp : partitions) {
        parts.add(part(tp.topic(), tp.partition(), ",\"offset\":-1"));
      }
      long now = System.nanoTime();
      event(kind, "ok", now, now, ",\"group\":\"" + group + "\",\"parts\":[" + String.join(",", parts) + "]");
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
      tell("assign", partitions);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
      tell("revoke", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
      tell("revoke", partitions);
    }
  }
}
