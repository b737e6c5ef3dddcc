import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;

/** The administrative operations of the Java client. */
final class CompatAdmin {
    private static final ObjectMapper JSON = CompatClient.JSON;
    private final String bootstrap;
    private Admin admin;

    CompatAdmin(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    JsonNode answer(JsonNode request) throws Exception {
        if (admin == null) {
            Properties properties = new Properties();
            properties.put("bootstrap.servers", bootstrap);
            admin = Admin.create(properties);
        }
        switch (request.get("op").asText()) {
            case "create_topics": return createTopics(request);
            case "delete_topics": return results(admin.deleteTopics(CompatClient.texts(request.get("topics"))).topicNameValues());
            case "create_partitions": return createPartitions(request);
            case "list_topics": return names("topics", admin.listTopics().names().get());
            case "describe_topics": return describeTopics(request);
            case "describe_configs": return describeConfigs(request);
            case "alter_configs": throw new UnsupportedOperationException("removed in Kafka 4");
            case "incremental_alter_configs": return alterConfigs(request);
            case "delete_records": return deleteRecords(request);
            case "list_offsets": return listOffsets(request);
            case "list_groups": return listGroups();
            case "describe_group": return describeGroup(request);
            case "delete_groups": return results(admin.deleteConsumerGroups(CompatClient.texts(request.get("groups"))).deletedGroups());
            case "group_offsets": return groupOffsets(request);
            case "alter_group_offsets":
                admin.alterConsumerGroupOffsets(request.get("group").asText(), CompatClient.offsets(request.get("offsets"))).all().get();
                return JSON.createObjectNode();
            case "delete_group_offsets": return deleteGroupOffsets(request);
            case "describe_cluster": return describeCluster();
            case "describe_log_dirs": return describeLogDirs(request);
            case "list_config_resources": return listConfigResources();
            case "update_features": return updateFeatures(request);
            default: return new CompatOperator(admin).answer(request);
        }
    }

    private static JsonNode results(Map<String, KafkaFuture<Void>> futures) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        ObjectNode results = answer.putObject("results");
        for (var entry : futures.entrySet()) {
            results.put(entry.getKey(), outcome(entry.getValue()));
        }
        return answer;
    }

    private static int outcome(KafkaFuture<Void> future) throws InterruptedException {
        try {
            future.get();
            return 0;
        } catch (ExecutionException error) {
            return CompatClient.code(error.getCause());
        }
    }

    private static JsonNode names(String key, Set<String> names) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode list = answer.putArray(key);
        new TreeSet<>(names).forEach(list::add);
        return answer;
    }

    private JsonNode createTopics(JsonNode request) throws Exception {
        List<NewTopic> topics = new ArrayList<>();
        for (JsonNode wanted : request.get("topics")) {
            NewTopic topic;
            if (wanted.has("assignment")) {
                Map<Integer, List<Integer>> assignment = new HashMap<>();
                for (JsonNode replicas : wanted.get("assignment")) {
                    List<Integer> brokers = new ArrayList<>();
                    replicas.forEach(broker -> brokers.add(broker.asInt()));
                    assignment.put(assignment.size(), brokers);
                }
                topic = new NewTopic(wanted.get("name").asText(), assignment);
            } else {
                topic = new NewTopic(wanted.get("name").asText(), wanted.get("partitions").asInt(), (short) wanted.get("replication").asInt());
            }
            Map<String, String> configs = new HashMap<>();
            wanted.get("configs").fields().forEachRemaining(entry -> configs.put(entry.getKey(), entry.getValue().asText()));
            topics.add(topic.configs(configs));
        }
        var options = new CreateTopicsOptions().validateOnly(request.get("validate_only").asBoolean());
        return results(admin.createTopics(topics, options).values());
    }

    private JsonNode createPartitions(JsonNode request) throws Exception {
        var options = new CreatePartitionsOptions().validateOnly(request.get("validate_only").asBoolean());
        var wanted = Map.of(request.get("topic").asText(), NewPartitions.increaseTo(request.get("count").asInt()));
        return results(admin.createPartitions(wanted, options).values());
    }

    private JsonNode describeTopics(JsonNode request) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        ObjectNode topics = answer.putObject("topics");
        for (var entry : admin.describeTopics(CompatClient.texts(request.get("topics"))).topicNameValues().entrySet()) {
            ObjectNode topic = topics.putObject(entry.getKey());
            ArrayNode partitions = topic.putArray("partitions");
            try {
                TopicDescription description = entry.getValue().get();
                topic.put("error", 0);
                for (TopicPartitionInfo info : description.partitions()) {
                    ObjectNode partition = partitions.addObject().put("partition", info.partition()).put("leader", info.leader().id());
                    partition.set("replicas", ids(info.replicas()));
                    partition.set("isr", ids(info.isr()));
                }
            } catch (ExecutionException error) {
                topic.put("error", CompatClient.code(error.getCause()));
            }
        }
        return answer;
    }

    private static ArrayNode ids(List<Node> nodes) {
        ArrayNode ids = JSON.createArrayNode();
        nodes.forEach(node -> ids.add(node.id()));
        return ids;
    }

    private static ConfigResource resource(JsonNode request) {
        var type = request.get("type").asText().equals("topic") ? ConfigResource.Type.TOPIC : ConfigResource.Type.BROKER;
        return new ConfigResource(type, request.get("name").asText());
    }

    private JsonNode describeConfigs(JsonNode request) throws Exception {
        ConfigResource resource = resource(request);
        ObjectNode answer = JSON.createObjectNode();
        ObjectNode configs = answer.putObject("configs");
        for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).values().get(resource).get().entries()) {
            configs.put(entry.name(), entry.value());
        }
        return answer;
    }

    private JsonNode alterConfigs(JsonNode request) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        request.get("set").fields().forEachRemaining(entry -> changes.add(
            new AlterConfigOp(new ConfigEntry(entry.getKey(), entry.getValue().asText()), AlterConfigOp.OpType.SET)));
        request.get("delete").forEach(key -> changes.add(
            new AlterConfigOp(new ConfigEntry(key.asText(), null), AlterConfigOp.OpType.DELETE)));
        ConfigResource resource = resource(request);
        return results(Map.of(resource.name(), admin.incrementalAlterConfigs(Map.of(resource, changes)).values().get(resource)));
    }

    private JsonNode deleteRecords(JsonNode request) throws Exception {
        var partition = new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
        var before = RecordsToDelete.beforeOffset(request.get("before").asLong());
        long low = admin.deleteRecords(Map.of(partition, before)).lowWatermarks().get(partition).get().lowWatermark();
        return JSON.createObjectNode().put("low", low);
    }

    private JsonNode listOffsets(JsonNode request) throws Exception {
        var partition = new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
        long at = request.get("at").asLong();
        OffsetSpec spec = at == -1 ? OffsetSpec.latest() : at == -2 ? OffsetSpec.earliest()
            : at == -3 ? OffsetSpec.maxTimestamp() : OffsetSpec.forTimestamp(at);
        long offset = admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get().offset();
        return JSON.createObjectNode().put("offset", offset);
    }

    private JsonNode listGroups() throws Exception {
        Set<String> groups = new TreeSet<>();
        admin.listGroups().all().get().forEach(group -> groups.add(group.groupId()));
        return names("groups", groups);
    }

    private JsonNode describeGroup(JsonNode request) throws Exception {
        String group = request.get("group").asText();
        var found = admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get();
        int assigned = found.members().stream().mapToInt(member -> member.assignment().topicPartitions().size()).sum();
        return JSON.createObjectNode().put("state", found.groupState().toString()).put("protocol", found.partitionAssignor())
            .put("members", found.members().size()).put("assigned", assigned);
    }

    private JsonNode groupOffsets(JsonNode request) throws Exception {
        String group = request.get("group").asText();
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode offsets = answer.putArray("offsets");
        admin.listConsumerGroupOffsets(Map.of(group, new ListConsumerGroupOffsetsSpec())).partitionsToOffsetAndMetadata(group).get()
            .forEach((partition, offset) -> {
                if (offset != null) {
                    offsets.addArray().add(partition.topic()).add(partition.partition()).add(offset.offset()).add(offset.metadata());
                }
            });
        return answer;
    }

    private JsonNode deleteGroupOffsets(JsonNode request) throws Exception {
        Set<TopicPartition> partitions = new java.util.HashSet<>();
        request.get("partitions").forEach(partition -> partitions.add(new TopicPartition(request.get("topic").asText(), partition.asInt())));
        var done = admin.deleteConsumerGroupOffsets(request.get("group").asText(), partitions);
        Map<String, KafkaFuture<Void>> futures = new HashMap<>();
        partitions.forEach(partition -> futures.put(String.valueOf(partition.partition()), done.partitionResult(partition)));
        return results(futures);
    }

    private JsonNode describeCluster() throws Exception {
        var found = admin.describeCluster();
        ObjectNode answer = JSON.createObjectNode().put("cluster_id", found.clusterId().get()).put("controller", found.controller().get().id());
        ArrayNode brokers = answer.putArray("brokers");
        found.nodes().get().forEach(node -> brokers.addArray().add(node.id()).add(node.host()).add(node.port()));
        return answer;
    }

    private JsonNode describeLogDirs(JsonNode request) throws Exception {
        List<Integer> brokers = new ArrayList<>();
        admin.describeCluster().nodes().get().forEach(node -> brokers.add(node.id()));
        int count = 0;
        for (var folders : admin.describeLogDirs(brokers).allDescriptions().get().values()) {
            for (var folder : folders.values()) {
                for (TopicPartition partition : folder.replicaInfos().keySet()) {
                    count += partition.topic().equals(request.get("topic").asText()) ? 1 : 0;
                }
            }
        }
        return JSON.createObjectNode().put("partitions", count);
    }

    private JsonNode updateFeatures(JsonNode request) throws Exception {
        var type = request.get("downgrade").asBoolean() ? FeatureUpdate.UpgradeType.SAFE_DOWNGRADE : FeatureUpdate.UpgradeType.UPGRADE;
        Map<String, FeatureUpdate> updates = new HashMap<>();
        request.get("levels").fields().forEachRemaining(entry -> updates.put(entry.getKey(), new FeatureUpdate((short) entry.getValue().asInt(), type)));
        var options = new UpdateFeaturesOptions().validateOnly(request.get("validate_only").asBoolean());
        return results(admin.updateFeatures(updates, options).values());
    }

    private JsonNode listConfigResources() throws Exception {
        Set<String> topics = new TreeSet<>();
        admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC), new ListConfigResourcesOptions()).all().get()
            .forEach(resource -> topics.add(resource.name()));
        return names("topics", topics);
    }
}
