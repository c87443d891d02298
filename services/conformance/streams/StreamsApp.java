import java.io.FileReader;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;

import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * A Kafka Streams application as people write them. Its first argument names the topology, its second a file with its configuration.
 * It runs until it is told to end, and ends by itself, with exit code 3, when Streams gives up.
 */
public final class StreamsApp {
    private static final Serde<String> TEXT = Serdes.String();

    public static void main(String[] args) throws Exception {
        Properties configuration = new Properties();
        try (FileReader file = new FileReader(args[1])) {
            configuration.load(file);
        }
        Topology topology = args[0].equals("demo") ? demo() : everything();
        KafkaStreams streams = new KafkaStreams(topology, configuration);
        CountDownLatch ended = new CountDownLatch(1);
        boolean[] failed = {false};
        streams.setStateListener((now, before) -> {
            System.err.println("STATE " + before + " -> " + now);
            if (now == KafkaStreams.State.ERROR) {
                failed[0] = true;
                ended.countDown();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(20));
            ended.countDown();
        }));
        streams.start();
        ended.await();
        if (failed[0]) {
            Runtime.getRuntime().halt(3);
        }
    }

    /**
     * The four shapes that an application is made of. What each writes for a key is a function of the input alone, in its order too,
     * however often the application is killed on the way: the words of a key are counted one by one, a window is summed in the order of
     * its one input partition, the table is there before the stream, and a key of the repartition comes from one partition.
     */
    private static Topology everything() {
        StreamsBuilder builder = new StreamsBuilder();

        builder.stream("lines", Consumed.with(TEXT, TEXT))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("words", TEXT, TEXT))
            .count(Materialized.as("counts"))
            .toStream()
            .mapValues(count -> Long.toString(count))
            .to("counted", Produced.with(TEXT, TEXT));

        KStream<String, String> clicks = builder.stream("clicks", Consumed.with(TEXT, TEXT));

        clicks.groupByKey(Grouped.with(TEXT, TEXT))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(5)))
            .aggregate(() -> 0L, (key, click, sum) -> sum + Long.parseLong(click), Materialized.with(TEXT, Serdes.Long()))
            .toStream((window, sum) -> window.key() + "@" + window.window().start())
            .mapValues(sum -> Long.toString(sum))
            .to("windowed", Produced.with(TEXT, TEXT));

        KTable<String, String> users = builder.table("users", Consumed.with(TEXT, TEXT), Materialized.as("users"));
        clicks.join(users, (click, user) -> user + " clicked " + click, Joined.with(TEXT, TEXT, TEXT))
            .to("joined", Produced.with(TEXT, TEXT));

        clicks.selectKey((key, click) -> key + "/" + Long.parseLong(click) % 7)
            .repartition(Repartitioned.with(TEXT, TEXT).withName("spread").withNumberOfPartitions(3))
            .to("spread", Produced.with(TEXT, TEXT));

        return builder.build();
    }

    /** Word count as the quick start of Kafka Streams has it. */
    private static Topology demo() {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> source = builder.stream("streams-plaintext-input");
        KTable<String, Long> counts = source
            .flatMapValues(line -> List.of(line.toLowerCase(Locale.ROOT).split("\\W+")))
            .groupBy((key, word) -> word)
            .count();
        counts.toStream().to("streams-wordcount-output", Produced.with(TEXT, Serdes.Long()));
        return builder.build();
    }
}
