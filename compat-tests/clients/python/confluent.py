"""confluent-kafka (librdkafka): see ../README.md for the operations."""
import sys
import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from lines import Refused, headers_in, headers_out, hexed, serve, unhex

STRATEGIES = {"range": "range", "roundrobin": "roundrobin", "cooperative": "cooperative-sticky"}
LARGEST = 16 << 20


def code_of(error):
    if isinstance(error, KafkaException) and hasattr(error.args[0], "code"):
        return error.args[0].code()
    return -1


def isolated(level):
    """The setting of an isolation level; without one, the library's default holds."""
    return {} if level is None else {"isolation.level": level}


def settle(futures):
    results = {}
    for resource, future in futures.items():
        name = getattr(resource, "name", None) or getattr(resource, "topic", None) or str(resource)
        try:
            future.result()
            results[name] = 0
        except KafkaException as error:
            results[name] = error.args[0].code()
    return {"results": results}


class Operations:
    def __init__(self, bootstrap):
        self.common = {"bootstrap.servers": bootstrap, "receive.message.max.bytes": 1 << 28}
        self.admin_client = None
        self.producers = {}
        self.transactional = None
        self.member = None
        self.rebalances = 0

    @property
    def admin(self):
        self.admin_client = self.admin_client or AdminClient(self.common)
        return self.admin_client

    def produce(self, topic, codec, acks, idempotent, linger_ms, records):
        settings = (codec, acks, idempotent, linger_ms)
        if settings not in self.producers:
            self.producers[settings] = Producer({
                **self.common, "compression.type": codec, "acks": acks, "enable.idempotence": idempotent,
                "linger.ms": linger_ms, "message.max.bytes": LARGEST, "message.timeout.ms": 60000,
                "partitioner": "murmur2_random"})
        return self.send_all(self.producers[settings], topic, records)

    @staticmethod
    def send_all(producer, topic, records):
        acks = [None] * len(records)

        def deliver(index):
            def delivered(error, message):
                code = 0 if error is None else error.code()
                offset = message.offset() if message.offset() is not None else -1
                acks[index] = {"partition": message.partition(), "offset": offset, "error": code}
            return delivered

        for index, record in enumerate(records):
            where = {k: v for k, v in (("partition", record.get("partition")), ("timestamp", record.get("timestamp")))
                     if v is not None}
            while True:
                try:
                    producer.produce(topic, unhex(record["value"]), unhex(record["key"]), on_delivery=deliver(index),
                                     headers=headers_in(record["headers"]), **where)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        producer.flush(90)
        return {"acks": acks}

    def init_transactions(self, id, timeout_ms=60000):
        self.transactional = Producer({**self.common, "transactional.id": id, "transaction.timeout.ms": timeout_ms,
                                       "message.timeout.ms": min(timeout_ms, 60000)})
        self.transactional.init_transactions(60)

    def begin_transaction(self):
        self.transactional.begin_transaction()

    def send(self, topic, records):
        return self.send_all(self.transactional, topic, records)

    def send_offsets(self, group, offsets):
        member = self.member or Consumer({**self.common, "group.id": group})
        positions = [TopicPartition(t, p, o, metadata=m) for t, p, o, m in offsets]
        self.transactional.send_offsets_to_transaction(positions, member.consumer_group_metadata(), 60)

    def commit_transaction(self):
        self.transactional.commit_transaction(60)

    def abort_transaction(self):
        self.transactional.abort_transaction(60)

    def consume(self, partitions, start, count, timeout_ms, isolation=None):
        consumer = Consumer({**self.common, "group.id": "none", "enable.auto.commit": False,
                             "auto.offset.reset": "earliest", "fetch.message.max.bytes": LARGEST,
                             **isolated(isolation)})
        try:
            assigned = [TopicPartition(t, p, OFFSET_BEGINNING if start == "earliest" else start)
                        for t, p in partitions] if not isinstance(start, dict) else consumer.offsets_for_times(
                            [TopicPartition(t, p, start["timestamp"]) for t, p in partitions], 30)
            consumer.assign(assigned)
            return {"records": list(self.read(consumer, count, timeout_ms))}
        finally:
            consumer.close()

    @staticmethod
    def read(consumer, count, timeout_ms):
        deadline = time.monotonic() + timeout_ms / 1000
        found = 0
        while found < count and (left := deadline - time.monotonic()) > 0:
            for message in consumer.consume(count - found, min(left, 0.1)):
                if message.error():
                    raise KafkaException(message.error())
                found += 1
                kind, timestamp = message.timestamp()
                yield {"topic": message.topic(), "partition": message.partition(), "offset": message.offset(),
                       "timestamp": timestamp, "timestamp_type": kind - 1, "key": hexed(message.key()),
                       "value": hexed(message.value()), "headers": headers_out(message.headers())}

    def list_offsets(self, topic, partition, at):
        spec = {-1: OffsetSpec.latest, -2: OffsetSpec.earliest}.get(at, lambda: OffsetSpec.for_timestamp(at))()
        where = TopicPartition(topic, partition)
        futures = self.admin.list_offsets({where: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED)
        return {"offset": futures[where].result().offset}

    def subscribe(self, group, topics, strategy, reset, session_ms, instance=None, isolation=None, protocol="classic",
                  assignor=None, regex=None, transactional_id=None):
        settings = {**self.common, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": reset,
                    "topic.metadata.refresh.interval.ms": 1000, **isolated(isolation)}
        if protocol == "consumer":
            settings["group.protocol"] = "consumer"
            if assignor:
                settings["group.remote.assignor"] = assignor
        else:
            settings.update({"partition.assignment.strategy": STRATEGIES[strategy], "session.timeout.ms": session_ms,
                             "heartbeat.interval.ms": max(100, session_ms // 10)})
        if instance:
            settings["group.instance.id"] = instance
        self.member = Consumer(settings)

        def changed(_consumer, _partitions):
            self.rebalances += 1
        # The library takes a name that begins with ^ for an expression.
        self.member.subscribe(["^" + regex] if regex else topics, on_assign=changed, on_revoke=changed)

    def poll(self, ms):
        deadline = time.monotonic() + ms / 1000
        records = []
        while (left := deadline - time.monotonic()) > 0:
            for message in self.member.consume(500, min(left, 0.05)):
                if message.error():
                    raise KafkaException(message.error())
                records.append([message.topic(), message.partition(), message.offset(), hexed(message.value())])
        assigned = [[p.topic, p.partition] for p in self.member.assignment()]
        return {"assigned": assigned, "records": records, "rebalances": self.rebalances}

    def commit(self, offsets=None):
        if offsets is None:
            done = self.member.commit(asynchronous=False)
        else:
            done = self.member.commit(asynchronous=False, offsets=[
                TopicPartition(t, p, o, metadata=m) for t, p, o, m in offsets])
        for partition in done:
            if partition.error:
                raise KafkaException(partition.error)

    def committed(self, partitions):
        found = self.member.committed([TopicPartition(t, p) for t, p in partitions], 30)
        return {"offsets": [[p.topic, p.partition, p.offset if p.offset >= 0 else -1, p.metadata or ""]
                            for p in found]}

    def leave(self):
        self.member.close()
        self.member = None

    def create_topics(self, topics, validate_only):
        wanted = []
        for topic in topics:
            layout = ({"replica_assignment": topic["assignment"]} if topic.get("assignment")
                      else {"replication_factor": topic["replication"]})
            wanted.append(NewTopic(topic["name"], len(topic["assignment"]) if topic.get("assignment")
                                   else topic["partitions"], config=topic["configs"], **layout))
        return settle(self.admin.create_topics(wanted, validate_only=validate_only, request_timeout=60,
                                               operation_timeout=30))

    def delete_topics(self, topics):
        return settle(self.admin.delete_topics(topics, operation_timeout=30))

    def create_partitions(self, topic, count, validate_only):
        return settle(self.admin.create_partitions([NewPartitions(topic, count)], validate_only=validate_only))

    def list_topics(self):
        return {"topics": sorted(self.admin.list_topics(timeout=30).topics)}

    def describe_topics(self, topics):
        described = {}
        for name, future in self.admin.describe_topics(TopicCollection(topics)).items():
            try:
                topic = future.result()
            except KafkaException as error:
                described[name] = {"error": error.args[0].code(), "partitions": []}
                continue
            described[name] = {"error": 0, "partitions": [
                {"partition": p.id, "leader": p.leader.id, "replicas": [n.id for n in p.replicas],
                 "isr": [n.id for n in p.isr]} for p in topic.partitions]}
        return {"topics": described}

    def describe_configs(self, type, name):
        resource = ConfigResource(type, name)
        found = self.admin.describe_configs([resource])[resource].result()
        return {"configs": {key: entry.value for key, entry in found.items()}}

    def alter_configs(self, type, name, configs):
        return settle(self.admin.alter_configs([ConfigResource(type, name, set_config=configs)]))

    def incremental_alter_configs(self, type, name, set, delete):
        entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in set.items()]
        entries += [ConfigEntry(k, None, incremental_operation=AlterConfigOpType.DELETE) for k in delete]
        return settle(self.admin.incremental_alter_configs(
            [ConfigResource(type, name, incremental_configs=entries)]))

    def delete_records(self, topic, partition, before):
        where = TopicPartition(topic, partition, before if before >= 0 else OFFSET_END)
        return {"low": self.admin.delete_records([where])[where].result().low_watermark}

    def list_groups(self):
        return {"groups": sorted(g.group_id for g in self.admin.list_consumer_groups().result().valid)}

    def describe_group(self, group, protocol=None):
        found = self.admin.describe_consumer_groups([group])[group].result()
        return {"state": found.state.name, "protocol": found.partition_assignor, "members": len(found.members),
                "assigned": sum(len(m.assignment.topic_partitions) for m in found.members)}

    def delete_groups(self, groups):
        return settle(self.admin.delete_consumer_groups(groups))

    def group_offsets(self, group):
        found = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result()
        return {"offsets": [[p.topic, p.partition, p.offset, p.metadata or ""] for p in found.topic_partitions]}

    def alter_group_offsets(self, group, offsets):
        wanted = [TopicPartition(t, p, o, metadata=m) for t, p, o, m in offsets]
        done = self.admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, wanted)])[group].result()
        for partition in done.topic_partitions:
            if partition.error:
                raise Refused(partition.error.code(), str(partition.error))

    def describe_cluster(self):
        found = self.admin.describe_cluster().result()
        return {"cluster_id": found.cluster_id, "controller": found.controller.id if found.controller else -1,
                "brokers": [[n.id, n.host, n.port] for n in found.nodes]}


serve(Operations(sys.argv[1]), code_of)
