import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.TopicExistsException;

/** The checks of the administration client. */
final class Administration {
    private static final TopicPartition GZIP = new TopicPartition("gzip", 0);
    private final Admin admin;

    Administration(Admin admin) {
        this.admin = admin;
    }

    private static void refused(Class<? extends Exception> kind, Checks.Check check) throws Exception {
        try {
            check.run();
        } catch (ExecutionException e) {
            Checks.want("error", e.getCause().getClass(), kind);
            return;
        }
        throw new AssertionError("not refused with " + kind);
    }

    void topics() throws Exception {
        List<NewTopic> topic = List.of(new NewTopic("administered", 3, (short) 1).configs(Map.of("retention.ms", "86400000")));
        admin.createTopics(topic).all().get();
        refused(TopicExistsException.class, () -> admin.createTopics(topic).all().get());
        admin.createPartitions(Map.of("administered", NewPartitions.increaseTo(5))).all().get();
        Checks.want("partitions", admin.describeTopics(List.of("administered")).allTopicNames().get().get("administered").partitions().size(), 5);
        admin.deleteTopics(List.of("administered")).all().get();
        Checks.want("there after its deletion", admin.listTopics().names().get().contains("administered"), false);
        Checks.want("nodes", admin.describeCluster().nodes().get().size(), 1);
    }

    void configs() throws Exception {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, "gzip");
        for (AlterConfigOp.OpType op : List.of(AlterConfigOp.OpType.SET, AlterConfigOp.OpType.DELETE)) {
            String wanted = op == AlterConfigOp.OpType.SET ? "123456789" : "604800000";
            Collection<AlterConfigOp> change = List.of(new AlterConfigOp(new ConfigEntry("retention.ms", wanted), op));
            admin.incrementalAlterConfigs(Map.of(topic, change)).all().get();
            Checks.want("retention.ms", admin.describeConfigs(List.of(topic)).all().get().get(topic).get("retention.ms").value(), wanted);
        }
    }

    void groups() throws Exception {
        for (GroupType type : List.of(GroupType.CLASSIC, GroupType.CONSUMER)) {
            String name = "described-" + type;
            try (KafkaConsumer<byte[], byte[]> c = Client.consumer("group.id", name, "group.protocol", type.toString().toLowerCase(java.util.Locale.ROOT), "enable.auto.commit", "true")) {
                c.subscribe(List.of("gzip"));
                Client.read(c, 100);
                ConsumerGroupDescription d = admin.describeConsumerGroups(List.of(name)).all().get().get(name);
                Checks.want("type", d.type(), type);
                Checks.want("state", d.groupState(), GroupState.STABLE);
                Checks.want("assignment", d.members().iterator().next().assignment().topicPartitions(), Set.of(GZIP));
            }
            Checks.want("listed", admin.listGroups().all().get().stream().map(GroupListing::groupId).anyMatch(name::equals), true);
            Checks.want("offset", admin.listConsumerGroupOffsets(name).partitionsToOffsetAndMetadata().get().get(GZIP).offset(), 100L);
            admin.deleteConsumerGroups(List.of(name)).all().get();
            refused(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(name)).all().get());
        }
    }

    void offsets() throws Exception {
        Map<OffsetSpec, Long> wanted = Map.of(OffsetSpec.earliest(), 0L, OffsetSpec.latest(), 100L, OffsetSpec.maxTimestamp(), 99L, OffsetSpec.forTimestamp(Checks.FIRST_TIMESTAMP + 10), 10L);
        for (Map.Entry<OffsetSpec, Long> w : wanted.entrySet()) {
            Checks.want("offset of " + w.getKey(), admin.listOffsets(Map.of(GZIP, w.getKey())).partitionResult(GZIP).get().offset(), w.getValue());
        }
        admin.alterConsumerGroupOffsets("set", Map.of(GZIP, new OffsetAndMetadata(42))).all().get();
        Checks.want("committed", admin.listConsumerGroupOffsets("set").partitionsToOffsetAndMetadata().get().get(GZIP).offset(), 42L);
    }

    void deleteRecords() throws Exception {
        TopicPartition at = new TopicPartition("snappy", 0);
        Checks.want("low watermark", admin.deleteRecords(Map.of(at, RecordsToDelete.beforeOffset(30))).lowWatermarks().get(at).get().lowWatermark(), 30L);
        Checks.want("start", admin.listOffsets(Map.of(at, OffsetSpec.earliest())).partitionResult(at).get().offset(), 30L);
    }
}
