import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The transactional producer of a CompatClient. */
final class CompatTransactions {
    private final String bootstrap;
    private KafkaProducer<byte[], byte[]> producer;

    CompatTransactions(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    JsonNode answer(JsonNode request, KafkaConsumer<byte[], byte[]> member) throws Exception {
        switch (request.get("op").asText()) {
            case "init_transactions": initialise(request); break;
            case "begin_transaction": producer.beginTransaction(); break;
            case "send": return CompatClient.send(producer, request);
            case "send_offsets": sendOffsets(request, member); break;
            case "commit_transaction": producer.commitTransaction(); break;
            default: producer.abortTransaction();
        }
        return CompatClient.JSON.createObjectNode();
    }

    private void initialise(JsonNode request) {
        if (producer != null) {
            producer.close(Duration.ZERO);
        }
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("transactional.id", request.get("id").asText());
        properties.put("max.block.ms", 60000);
        properties.put("delivery.timeout.ms", 60000);
        if (request.has("timeout_ms")) {
            properties.put("transaction.timeout.ms", request.get("timeout_ms").asInt());
        }
        producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        producer.initTransactions();
    }

    private void sendOffsets(JsonNode request, KafkaConsumer<byte[], byte[]> member) {
        ConsumerGroupMetadata group = member == null ? new ConsumerGroupMetadata(request.get("group").asText()) : member.groupMetadata();
        producer.sendOffsetsToTransaction(CompatClient.offsets(request.get("offsets")), group);
    }
}
