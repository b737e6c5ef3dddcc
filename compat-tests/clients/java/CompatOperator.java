import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.common.TopicPartition;

/** The administrative operations on transactions. */
final class CompatOperator {
    private static final ObjectMapper JSON = CompatClient.JSON;
    private final Admin admin;

    CompatOperator(Admin admin) {
        this.admin = admin;
    }

    JsonNode answer(JsonNode request) throws Exception {
        switch (request.get("op").asText()) {
            case "list_transactions": return listTransactions();
            case "describe_transaction": return describeTransaction(request.get("id").asText());
            case "describe_producers": return describeProducers(partition(request));
            case "abort_by_marker": return abortByMarker(request);
            default: throw new UnsupportedOperationException(request.get("op").asText());
        }
    }

    private static TopicPartition partition(JsonNode request) {
        return new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
    }

    private JsonNode listTransactions() throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode transactions = answer.putArray("transactions");
        for (TransactionListing one : admin.listTransactions().all().get()) {
            transactions.addArray().add(one.transactionalId()).add(one.producerId()).add(one.state().toString());
        }
        return answer;
    }

    private JsonNode describeTransaction(String id) throws Exception {
        TransactionDescription found = admin.describeTransactions(List.of(id)).description(id).get();
        ObjectNode answer = JSON.createObjectNode().put("producer_id", found.producerId())
            .put("epoch", found.producerEpoch()).put("state", found.state().toString());
        ArrayNode partitions = answer.putArray("partitions");
        found.topicPartitions().forEach(one -> partitions.addArray().add(one.topic()).add(one.partition()));
        return answer;
    }

    private JsonNode describeProducers(TopicPartition partition) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode producers = answer.putArray("producers");
        for (ProducerState one : admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers()) {
            producers.addArray().add(one.producerId()).add(one.producerEpoch()).add(one.lastSequence())
                .add(one.currentTransactionStartOffset().orElse(-1));
        }
        return answer;
    }

    private JsonNode abortByMarker(JsonNode request) throws Exception {
        short epoch = (short) request.get("epoch").asInt();
        admin.abortTransaction(new AbortTransactionSpec(partition(request), request.get("producer_id").asLong(), epoch, 0)).all().get();
        return JSON.createObjectNode();
    }
}
