import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.LogTruncationException;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client: see ../README.md for the operations. Administration is in CompatAdmin. */
public final class CompatClient {
    static final ObjectMapper JSON = new ObjectMapper();
    private static final int LARGEST = 16 << 20;

    private final String bootstrap;
    private final CompatAdmin admin;
    private final CompatTransactions transactions;
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private KafkaConsumer<byte[], byte[]> member;
    private int rebalances;

    private CompatClient(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = new CompatAdmin(bootstrap);
        this.transactions = new CompatTransactions(bootstrap);
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err);
        CompatClient client = new CompatClient(args[0]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                answer.set("ok", client.answer(JSON.readTree(line)));
            } catch (Exception error) {
                error.printStackTrace();
                Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
                answer.put("code", code(cause)).put("message", cause.toString());
            }
            out.println(JSON.writeValueAsString(answer));
            out.flush();
        }
        // Nothing is closed: a member that did not leave dies, as the scenario wants.
        Runtime.getRuntime().halt(0);
    }

    static int code(Throwable error) {
        return error instanceof UnsupportedOperationException ? 35 : Errors.forException(error).code();
    }

    private JsonNode answer(JsonNode request) throws Exception {
        switch (request.get("op").asText()) {
            case "produce": return produce(request);
            case "init_transactions":
            case "begin_transaction":
            case "send":
            case "send_offsets":
            case "commit_transaction":
            case "abort_transaction": return transactions.answer(request, member);
            case "consume": return consume(request);
            case "subscribe": return subscribe(request);
            case "poll": return poll(request);
            case "commit": return commit(request);
            case "committed": return committed(request);
            case "leave": return leave();
            case "leader_epoch": return leaderEpoch(request);
            default: return admin.answer(request);
        }
    }

    private Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        return properties;
    }

    private JsonNode produce(JsonNode request) throws Exception {
        String settings = request.get("codec") + " " + request.get("acks") + " " + request.get("idempotent") + " "
            + request.get("linger_ms");
        KafkaProducer<byte[], byte[]> producer = producers.computeIfAbsent(settings, key -> {
            Properties properties = properties();
            properties.put("compression.type", request.get("codec").asText());
            properties.put("acks", request.get("acks").asText());
            properties.put("enable.idempotence", request.get("idempotent").asText());
            properties.put("linger.ms", request.get("linger_ms").asText());
            properties.put("max.request.size", LARGEST);
            properties.put("buffer.memory", 1 << 26);
            properties.put("delivery.timeout.ms", 60000);
            return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        });
        return send(producer, request);
    }

    /** Sends the request's records, and waits for what becomes of each. */
    static JsonNode send(KafkaProducer<byte[], byte[]> producer, JsonNode request) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode record : request.get("records")) {
            List<Header> headers = new ArrayList<>();
            for (JsonNode header : record.get("headers")) {
                headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
            }
            sent.add(producer.send(new ProducerRecord<>(
                request.get("topic").asText(),
                record.has("partition") ? record.get("partition").asInt() : null,
                record.has("timestamp") ? record.get("timestamp").asLong() : null,
                bytes(record.get("key")), bytes(record.get("value")), headers)));
        }
        producer.flush();
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode acks = answer.putArray("acks");
        for (Future<RecordMetadata> future : sent) {
            try {
                RecordMetadata done = future.get();
                acks.addObject().put("partition", done.partition()).put("offset", done.offset());
            } catch (ExecutionException error) {
                acks.addObject().put("partition", -1).put("offset", -1).put("error", code(error.getCause()));
            }
        }
        return answer;
    }

    private Properties consumerProperties(JsonNode request) {
        Properties properties = properties();
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("max.partition.fetch.bytes", LARGEST);
        if (request.has("isolation")) {
            properties.put("isolation.level", request.get("isolation").asText());
        }
        return properties;
    }

    private JsonNode consume(JsonNode request) {
        List<TopicPartition> partitions = partitions(request.get("partitions"));
        JsonNode from = request.get("from");
        int count = request.get("count").asInt();
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode records = answer.putArray("records");
        try (var consumer = new KafkaConsumer<>(consumerProperties(request), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(partitions);
            if (from.isObject()) {
                Map<TopicPartition, Long> wanted = new HashMap<>();
                partitions.forEach(partition -> wanted.put(partition, from.get("timestamp").asLong()));
                consumer.offsetsForTimes(wanted).forEach((partition, found) -> {
                    if (found == null) {
                        consumer.seekToEnd(List.of(partition));
                    } else {
                        consumer.seek(partition, found.offset());
                    }
                });
            } else if (from.isTextual()) {
                consumer.seekToBeginning(partitions);
            } else {
                partitions.forEach(partition -> consumer.seek(partition, from.asLong()));
            }
            long deadline = System.nanoTime() + request.get("timeout_ms").asLong() * 1_000_000;
            while (records.size() < count && System.nanoTime() < deadline) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    if (records.size() < count) {
                        records.add(whole(record));
                    }
                }
            }
        }
        return answer;
    }

    private static ObjectNode whole(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode node = JSON.createObjectNode().put("topic", record.topic()).put("partition", record.partition())
            .put("offset", record.offset()).put("timestamp", record.timestamp())
            .put("timestamp_type", record.timestampType().id)
            .put("key", hex(record.key())).put("value", hex(record.value()));
        ArrayNode headers = node.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(hex(header.value()));
        }
        return node;
    }

    private JsonNode subscribe(JsonNode request) {
        Properties properties = consumerProperties(request);
        properties.put("group.id", request.get("group").asText());
        properties.put("auto.offset.reset", request.get("reset").asText());
        properties.put("metadata.max.age.ms", 1000);
        if (request.path("protocol").asText().equals("consumer")) {
            properties.put("group.protocol", "consumer");
            if (request.has("assignor")) {
                properties.put("group.remote.assignor", request.get("assignor").asText());
            }
        } else {
            properties.put("session.timeout.ms", request.get("session_ms").asInt());
            properties.put("heartbeat.interval.ms", Math.max(100, request.get("session_ms").asInt() / 10));
            properties.put("partition.assignment.strategy", switch (request.get("strategy").asText()) {
                case "range" -> "org.apache.kafka.clients.consumer.RangeAssignor";
                case "roundrobin" -> "org.apache.kafka.clients.consumer.RoundRobinAssignor";
                case "sticky" -> "org.apache.kafka.clients.consumer.StickyAssignor";
                default -> "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
            });
        }
        if (request.has("instance")) {
            properties.put("group.instance.id", request.get("instance").asText());
        }
        member = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        ConsumerRebalanceListener listener = new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                rebalances++;
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
                rebalances++;
            }
        };
        if (request.has("regex")) {
            member.subscribe(new SubscriptionPattern(request.get("regex").asText()), listener);
        } else {
            member.subscribe(texts(request.get("topics")), listener);
        }
        return JSON.createObjectNode();
    }

    private JsonNode poll(JsonNode request) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode records = answer.putArray("records");
        long deadline = System.nanoTime() + request.get("ms").asLong() * 1_000_000;
        while (System.nanoTime() < deadline) {
            for (var record : member.poll(Duration.ofMillis(50))) {
                records.addArray().add(record.topic()).add(record.partition()).add(record.offset())
                    .add(hex(record.value()));
            }
        }
        ArrayNode assigned = answer.putArray("assigned");
        for (TopicPartition partition : member.assignment()) {
            assigned.addArray().add(partition.topic()).add(partition.partition());
        }
        return answer.put("rebalances", rebalances);
    }

    private JsonNode commit(JsonNode request) {
        if (request.has("offsets")) {
            member.commitSync(offsets(request.get("offsets")));
        } else {
            member.commitSync();
        }
        return JSON.createObjectNode();
    }

    private JsonNode committed(JsonNode request) {
        List<TopicPartition> wanted = partitions(request.get("partitions"));
        Map<TopicPartition, OffsetAndMetadata> found = member.committed(new java.util.HashSet<>(wanted));
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode offsets = answer.putArray("offsets");
        for (TopicPartition partition : wanted) {
            OffsetAndMetadata offset = found.get(partition);
            offsets.addArray().add(partition.topic()).add(partition.partition())
                .add(offset == null ? -1 : offset.offset()).add(offset == null ? "" : offset.metadata());
        }
        return answer;
    }

    private JsonNode leave() {
        member.close();
        member = null;
        return JSON.createObjectNode();
    }

    /**
     * Takes a position far ahead in an epoch, which makes the client ask the broker: it then says
     * where the broker says that the epoch ends.
     */
    private JsonNode leaderEpoch(JsonNode request) {
        TopicPartition partition = new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
        Properties properties = consumerProperties(request);
        properties.put("auto.offset.reset", "none");
        try (var consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, new OffsetAndMetadata(Long.MAX_VALUE, Optional.of(request.get("epoch").asInt()), ""));
            consumer.poll(Duration.ofSeconds(30));
        } catch (LogTruncationException truncated) {
            OffsetAndMetadata end = truncated.divergentOffsets().get(partition);
            return JSON.createObjectNode().put("epoch", end.leaderEpoch().get()).put("end_offset", end.offset());
        }
        throw new IllegalStateException("the position was not doubted");
    }

    static List<TopicPartition> partitions(JsonNode node) {
        List<TopicPartition> partitions = new ArrayList<>();
        node.forEach(pair -> partitions.add(new TopicPartition(pair.get(0).asText(), pair.get(1).asInt())));
        return partitions;
    }

    static Map<TopicPartition, OffsetAndMetadata> offsets(JsonNode node) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        node.forEach(entry -> offsets.put(new TopicPartition(entry.get(0).asText(), entry.get(1).asInt()),
            new OffsetAndMetadata(entry.get(2).asLong(), entry.get(3).asText())));
        return offsets;
    }

    static List<String> texts(JsonNode node) {
        List<String> texts = new ArrayList<>();
        node.forEach(text -> texts.add(text.asText()));
        return texts;
    }

    private static byte[] bytes(JsonNode hex) {
        return hex == null || hex.isNull() ? null : HexFormat.of().parseHex(hex.asText());
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? null : HexFormat.of().formatHex(bytes);
    }
}
