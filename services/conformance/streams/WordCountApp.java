import java.io.FileReader;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsMetadata;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * A word count whose instances say, whenever it changes, which partitions of the counts each instance has. Its argument is a file with its
 * configuration. It ends by itself, with exit code 3, when Streams gives up.
 */
public final class WordCountApp {
    public static void main(String[] args) throws Exception {
        Properties configuration = new Properties();
        try (FileReader file = new FileReader(args[0])) {
            configuration.load(file);
        }
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream("lines");
        lines.flatMapValues(line -> List.of(line.toLowerCase(Locale.ROOT).split("\\W+")))
            .groupBy((key, word) -> word)
            .count(Materialized.as("counts"))
            .toStream()
            .to("counted", Produced.with(Serdes.String(), Serdes.Long()));
        KafkaStreams streams = new KafkaStreams(builder.build(), configuration);
        CountDownLatch ended = new CountDownLatch(1);
        boolean[] failed = {false};
        streams.setStateListener((now, before) -> {
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
        String told = "";
        while (!ended.await(500, TimeUnit.MILLISECONDS)) {
            String places = places(streams);
            if (!places.equals(told)) {
                System.err.println("COUNTS " + places);
                told = places;
            }
        }
        if (failed[0]) {
            Runtime.getRuntime().halt(3);
        }
    }

    /** For each instance the partitions of the topic behind the counts, like "one=[0, 2] two=[1, 3]". */
    private static String places(KafkaStreams streams) {
        TreeMap<String, TreeSet<Integer>> places = new TreeMap<>();
        try {
            for (StreamsMetadata instance : streams.streamsMetadataForStore("counts")) {
                TreeSet<Integer> partitions = new TreeSet<>();
                for (TopicPartition partition : instance.topicPartitions()) {
                    if (partition.topic().endsWith("-repartition")) {
                        partitions.add(partition.partition());
                    }
                }
                places.put(instance.host(), partitions);
            }
        } catch (IllegalStateException notRunning) {
            return "unknown";
        }
        StringBuilder text = new StringBuilder();
        places.forEach((host, partitions) -> text.append(host).append('=').append(partitions).append(' '));
        return text.toString().trim();
    }
}
