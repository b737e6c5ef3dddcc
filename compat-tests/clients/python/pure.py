"""kafka-python: see ../README.md for the operations."""
import re
import sys
import time

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import AlterConfigOp, ConfigResource, OffsetSpec
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from lines import Refused, headers_in, headers_out, hexed, serve, unhex

STRATEGIES = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor,
              "cooperative": CooperativeStickyAssignor}
LARGEST = 16 << 20


def code_of(error):
    code = getattr(error, "errno", None)
    return code if isinstance(code, int) and -2 < code < 200 else -1


def code_in(outcome):
    """Kafka's code in "OK", "[Error 40] SomeError: why" or "SomeError"."""
    if outcome == "OK":
        return 0
    found = re.match(r"\[Error (-?\d+)\]", str(outcome))
    return int(found[1]) if found else code_of(getattr(errors, str(outcome), None))


def named(result, list_name, key="name"):
    result = result if isinstance(result, dict) else result.to_dict()
    return {"results": {entry[key]: entry["error_code"] for entry in result[list_name]}}


def keep_join(coordinator):
    """The library (3.0.12) joins a second time if its join ends between two polls. From a group's leader that is a new rebalance, with
    any broker."""
    join, complete = coordinator._do_join_and_sync_async, coordinator._on_join_complete_async
    joined = []

    async def join_once():
        if not joined or joined[0] is not coordinator._generation:
            assignment = await join()
            joined[:] = coordinator._generation, assignment
        return joined[1]

    async def complete_join(*answer):
        joined.clear()
        return await complete(*answer)

    coordinator._do_join_and_sync_async, coordinator._on_join_complete_async = join_once, complete_join


def isolated(level):
    """The setting of an isolation level; without one, the library's default holds."""
    return {} if level is None else {"isolation_level": level}


class Changes(ConsumerRebalanceListener):
    def __init__(self):
        self.count = 0

    def on_partitions_revoked(self, revoked):
        self.count += 1

    def on_partitions_assigned(self, assigned):
        self.count += 1


class Operations:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin_client = None
        self.producers = {}
        self.transactional = None
        self.member = None
        self.changes = Changes()

    @property
    def admin(self):
        self.admin_client = self.admin_client or KafkaAdminClient(bootstrap_servers=self.bootstrap)
        return self.admin_client

    def produce(self, topic, codec, acks, idempotent, linger_ms, records):
        settings = (codec, acks, idempotent, linger_ms)
        if settings not in self.producers:
            self.producers[settings] = KafkaProducer(
                bootstrap_servers=self.bootstrap, compression_type=None if codec == "none" else codec,
                acks="all" if acks == -1 else acks, enable_idempotence=idempotent, linger_ms=linger_ms,
                max_request_size=LARGEST, retries=50, delivery_timeout_ms=60000)
        return self.send_all(self.producers[settings], topic, records)

    @staticmethod
    def send_all(producer, topic, records):
        sent = [producer.send(topic, unhex(record["value"]), unhex(record["key"]), headers_in(record["headers"]),
                              record.get("partition"), record.get("timestamp")) for record in records]
        producer.flush(90)
        acks = []
        for future in sent:
            try:
                done = future.get(1)
                acks.append({"partition": done.partition, "offset": done.offset})
            except KafkaError as error:
                acks.append({"partition": -1, "offset": -1, "error": code_of(error)})
        return {"acks": acks}

    def init_transactions(self, id, timeout_ms=60000):
        self.transactional = KafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=id,
                                           transaction_timeout_ms=timeout_ms)
        self.transactional.init_transactions()

    def begin_transaction(self):
        self.transactional.begin_transaction()

    def send(self, topic, records):
        return self.send_all(self.transactional, topic, records)

    def send_offsets(self, group, offsets):
        positions = {TopicPartition(t, p): OffsetAndMetadata(o, m, -1) for t, p, o, m in offsets}
        self.transactional.send_offsets_to_transaction(positions, self.member.group_metadata() if self.member else group)

    def commit_transaction(self):
        self.transactional.commit_transaction()

    def abort_transaction(self):
        self.transactional.abort_transaction()

    def consume(self, partitions, start, count, timeout_ms, isolation=None):
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False,
                                 auto_offset_reset="earliest", max_partition_fetch_bytes=LARGEST,
                                 **isolated(isolation))
        try:
            assigned = [TopicPartition(*p) for p in partitions]
            consumer.assign(assigned)
            if start == "earliest":
                consumer.seek_to_beginning()
            elif isinstance(start, dict):
                found = consumer.offsets_for_times({p: start["timestamp"] for p in assigned})
                for p in assigned:
                    consumer.seek(p, found[p].offset) if found[p] else consumer.seek_to_end(p)
            else:
                for p in assigned:
                    consumer.seek(p, start)
            return {"records": self.read(consumer, count, timeout_ms)}
        finally:
            consumer.close()

    @staticmethod
    def read(consumer, count, timeout_ms):
        deadline = time.monotonic() + timeout_ms / 1000
        records = []
        while len(records) < count and time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=100, max_records=count - len(records)).values():
                for r in batch:
                    records.append({"topic": r.topic, "partition": r.partition, "offset": r.offset,
                                    "timestamp": r.timestamp, "timestamp_type": r.timestamp_type,
                                    "key": hexed(r.key), "value": hexed(r.value),
                                    "headers": headers_out(r.headers)})
        return records

    def list_offsets(self, topic, partition, at):
        spec = {-1: OffsetSpec.LATEST, -2: OffsetSpec.EARLIEST}.get(at, at)
        where = TopicPartition(topic, partition)
        return {"offset": self.admin.list_partition_offsets({where: spec})[where].offset}

    def subscribe(self, group, topics, strategy, reset, session_ms, instance=None, isolation=None,
                  transactional_id=None):
        self.member = KafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, group_instance_id=instance, enable_auto_commit=False,
            auto_offset_reset=reset, partition_assignment_strategy=[STRATEGIES[strategy]],
            session_timeout_ms=session_ms, heartbeat_interval_ms=max(100, session_ms // 10),
            metadata_max_age_ms=1000, **isolated(isolation))
        keep_join(self.member._coordinator)
        self.member.subscribe(topics, listener=self.changes)

    def poll(self, ms):
        deadline = time.monotonic() + ms / 1000
        records = []
        while (left := deadline - time.monotonic()) > 0:
            for batch in self.member.poll(timeout_ms=int(min(left, 0.05) * 1000) + 1).values():
                records += [[r.topic, r.partition, r.offset, hexed(r.value)] for r in batch]
            self.remember_join()
        return {"assigned": [list(p) for p in self.member.assignment()], "records": records,
                "rebalances": self.changes.count}

    def remember_join(self):
        """The library (3.0.12) forgets a join that a poll does not wait for, if changed metadata was why it joined: the member would
        stay without partitions and heartbeats for ever."""
        coordinator = self.member._coordinator
        if coordinator._join_task is not None and not coordinator.need_rejoin():
            coordinator.request_rejoin()

    def commit(self, offsets=None):
        wanted = None if offsets is None else {
            TopicPartition(t, p): OffsetAndMetadata(o, m, -1) for t, p, o, m in offsets}
        self.member.commit(wanted)

    def committed(self, partitions):
        found = [(t, p, self.member.committed(TopicPartition(t, p), metadata=True)) for t, p in partitions]
        return {"offsets": [[t, p, c.offset if c else -1, c.metadata if c else ""] for t, p, c in found]}

    def leave(self):
        self.member.close(autocommit=False)
        self.member = None

    def create_topics(self, topics, validate_only):
        wanted = {}
        for topic in topics:
            wanted[topic["name"]] = {"configs": topic["configs"]}
            if topic.get("assignment"):
                wanted[topic["name"]]["assignments"] = dict(enumerate(topic["assignment"]))
            else:
                wanted[topic["name"]] |= {"num_partitions": topic["partitions"],
                                          "replication_factor": topic["replication"]}
        return named(self.admin.create_topics(wanted, validate_only=validate_only, raise_errors=False), "topics")

    def delete_topics(self, topics):
        return named(self.admin.delete_topics(topics, raise_errors=False), "topics")

    def create_partitions(self, topic, count, validate_only):
        return named(self.admin.create_partitions({topic: count}, validate_only=validate_only, raise_errors=False),
                     "results")

    def list_topics(self):
        return {"topics": sorted(self.admin.list_topics())}

    def describe_topics(self, topics):
        return {"topics": {t["name"]: {"error": t["error_code"], "partitions": [
            {"partition": p["partition_index"], "leader": p["leader_id"], "replicas": p["replica_nodes"],
             "isr": p["isr_nodes"]} for p in t["partitions"]]} for t in self.admin.describe_topics(topics)}}

    def describe_configs(self, type, name):
        found = self.admin.describe_configs([ConfigResource(type, name)], config_filter="all")
        return {"configs": {key: entry["value"] for key, entry in found[type][name].items()}}

    def alter_configs(self, type, name, configs):
        # The library adds what is set already, so that nothing is replaced.
        return self.altered(type, name, self.admin.alter_configs([ConfigResource(type, name, configs)], incremental=False))

    @staticmethod
    def altered(type, name, done):
        return {"results": {name: code_in(done[type][name])}}

    def incremental_alter_configs(self, type, name, set, delete):
        changes = {key: (AlterConfigOp.SET, value) for key, value in set.items()}
        changes |= {key: (AlterConfigOp.DELETE, None) for key in delete}
        return self.altered(type, name, self.admin.alter_configs([ConfigResource(type, name, changes)], incremental=True))

    def delete_records(self, topic, partition, before):
        where = TopicPartition(topic, partition)
        return {"low": self.admin.delete_records({where: before})[where]["low_watermark"]}

    def list_groups(self):
        return {"groups": sorted(g["group_id"] for g in self.admin.list_groups())}

    def describe_group(self, group):
        found = self.admin.describe_groups([group])[group]
        assigned = 0
        for member in found["members"]:
            for topic in (member.get("member_assignment") or {}).get("assigned_partitions", []):
                assigned += len(topic["partitions"])
        return {"state": found["group_state"], "protocol": found["protocol_data"],
                "members": len(found["members"]), "assigned": assigned}

    def delete_groups(self, groups):
        done = self.admin.delete_groups(groups)
        pairs = done.items() if isinstance(done, dict) else done
        return {"results": {group: code_in(outcome) for group, outcome in pairs}}

    def group_offsets(self, group):
        found = self.admin.list_group_offsets(group)[group]
        return {"offsets": [[p.topic, p.partition, c.offset, c.metadata] for p, c in found.items()]}

    def alter_group_offsets(self, group, offsets):
        done = self.admin.alter_group_offsets(
            group, {TopicPartition(t, p): OffsetAndMetadata(o, m, -1) for t, p, o, m in offsets})
        for error in done.values():
            if error.errno:
                raise Refused(error.errno, error.__name__)

    def delete_group_offsets(self, group, topic, partitions):
        done = self.admin.delete_group_offsets(group, [TopicPartition(topic, p) for p in partitions])
        return {"results": {str(p.partition): error.errno for p, error in done.items()}}

    def describe_cluster(self):
        found = self.admin.describe_cluster()
        return {"cluster_id": found["cluster_id"], "controller": found["controller_id"],
                "brokers": [[b["broker_id"], b["host"], b["port"]] for b in found["brokers"]]}

    def describe_log_dirs(self, topic):
        found = self.admin.describe_log_dirs([topic])
        return {"partitions": sum(len(t["partitions"]) for broker in found for folder in broker["log_dirs"]
                                  for t in folder["topics"])}

    def list_config_resources(self):
        found = self.admin.list_config_resources(["topic"])
        names = found.get("topic", found) if isinstance(found, dict) else found
        return {"topics": sorted(n if isinstance(n, str) else n.name for n in names)}


serve(Operations(sys.argv[1]), code_of)
