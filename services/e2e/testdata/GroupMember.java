import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;

/**
 * A member of a group that tells what becomes of it, a line for each thing: assigned, revoked, lost, record, committed.
 * Arguments: a topic, or ~ and a regular expression that the coordinator resolves; then settings as name=value.
 * Input: commit, quit.
 */
public class GroupMember {
    private static synchronized void say(String what, Object more) {
        System.out.println(what + " " + more);
        System.out.flush();
    }

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        settings.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        for (int i = 1; i < args.length; i++) {
            int equals = args[i].indexOf('=');
            settings.put(args[i].substring(0, equals), args[i].substring(equals + 1));
        }
        BlockingQueue<String> commands = new LinkedBlockingQueue<>();
        Thread reader = new Thread(() -> {
            try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
                for (String line = in.readLine(); line != null; line = in.readLine()) {
                    commands.add(line);
                }
            } catch (java.io.IOException e) {
                say("failed", e);
            }
            commands.add("quit");
        });
        reader.setDaemon(true);
        reader.start();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings)) {
            ConsumerRebalanceListener listener = new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    say("assigned", partitions.size() + " of " + consumer.assignment().size());
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    say("revoked", partitions.size() + " of " + consumer.assignment().size());
                }

                @Override
                public void onPartitionsLost(Collection<TopicPartition> partitions) {
                    say("lost", partitions.size());
                }
            };
            if (args[0].startsWith("~")) {
                consumer.subscribe(new SubscriptionPattern(args[0].substring(1)), listener);
            } else {
                consumer.subscribe(List.of(args[0]), listener);
            }
            while (true) {
                consumer.poll(Duration.ofMillis(100)).forEach(r -> say("record", r.value()));
                String command = commands.poll();
                if ("commit".equals(command)) {
                    try {
                        consumer.commitSync();
                        say("committed", consumer.groupMetadata().generationId() + " with " + consumer.assignment().size());
                    } catch (CommitFailedException | RebalanceInProgressException e) {
                        say("committed", "nothing: " + e.getMessage());
                    }
                } else if (command != null) {
                    break;
                }
            }
        }
        say("closed", "");
    }
}
