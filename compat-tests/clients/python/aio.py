"""aiokafka: see ../README.md for the operations."""
import asyncio
import sys
import threading
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from lines import Unsupported, headers_in, headers_out, hexed, serve, unhex

STRATEGIES = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor,
              "sticky": StickyPartitionAssignor}
LARGEST = 16 << 20
TYPES = {"topic": ConfigResourceType.TOPIC, "broker": ConfigResourceType.BROKER}


def code_of(error):
    code = getattr(error, "errno", None)
    return code if isinstance(code, int) and -2 < code < 200 else -1


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
    """The library is asynchronous: its loop runs on a thread of its own, so that a member's heartbeats go on between operations."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.admin_client = None
        self.producers = {}
        self.transactional = None
        self.member = None
        self.member_runs = False
        self.changes = Changes()

    def run(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(110)

    async def admin(self):
        if self.admin_client is None:
            self.admin_client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await self.admin_client.start()
        return self.admin_client

    def produce(self, **request):
        return self.run(self._produce(**request))

    async def _produce(self, topic, codec, acks, idempotent, linger_ms, records):
        settings = (codec, acks, idempotent, linger_ms)
        if settings not in self.producers:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap, compression_type=None if codec == "none" else codec,
                acks="all" if acks == -1 else acks, enable_idempotence=idempotent, linger_ms=linger_ms,
                max_request_size=LARGEST, request_timeout_ms=20000)
            await producer.start()
            self.producers[settings] = producer
        return await self.send_all(self.producers[settings], topic, records)

    @staticmethod
    async def send_all(producer, topic, records):
        sent = []
        for record in records:
            sent.append(await producer.send(
                topic, unhex(record["value"]), unhex(record["key"]), record.get("partition"),
                record.get("timestamp"), headers_in(record["headers"])))
        acks = []
        for future in sent:
            try:
                done = await future
                acks.append({"partition": done.partition if done else -1, "offset": done.offset if done else -1})
            except KafkaError as error:
                acks.append({"partition": -1, "offset": -1, "error": code_of(error)})
        return {"acks": acks}

    def init_transactions(self, **request):
        return self.run(self._init_transactions(**request))

    async def _init_transactions(self, id, timeout_ms=60000):
        self.transactional = AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=id,
                                              transaction_timeout_ms=timeout_ms)
        try:
            await self.transactional.start()
        except BaseException:
            await self.transactional.stop()
            raise

    def begin_transaction(self):
        self.run(self.transactional.begin_transaction())

    def send(self, topic, records):
        return self.run(self.send_all(self.transactional, topic, records))

    def send_offsets(self, group, offsets):
        positions = {TopicPartition(t, p): OffsetAndMetadata(o, m) for t, p, o, m in offsets}
        self.run(self.transactional.send_offsets_to_transaction(positions, group))

    def commit_transaction(self):
        self.run(self.transactional.commit_transaction())

    def abort_transaction(self):
        self.run(self.transactional.abort_transaction())

    def consume(self, **request):
        return self.run(self._consume(**request))

    async def _consume(self, partitions, start, count, timeout_ms, isolation=None):
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False,
                                    auto_offset_reset="earliest", max_partition_fetch_bytes=LARGEST,
                                    fetch_max_bytes=4 * LARGEST, **isolated(isolation))
        await consumer.start()
        try:
            assigned = [TopicPartition(*p) for p in partitions]
            consumer.assign(assigned)
            if start == "earliest":
                await consumer.seek_to_beginning()
            elif isinstance(start, dict):
                found = await consumer.offsets_for_times({p: start["timestamp"] for p in assigned})
                for p in assigned:
                    if found[p]:
                        consumer.seek(p, found[p].offset)
                    else:
                        await consumer.seek_to_end(p)
            else:
                for p in assigned:
                    consumer.seek(p, start)
            deadline = time.monotonic() + timeout_ms / 1000
            records = []
            while len(records) < count and time.monotonic() < deadline:
                for batch in (await consumer.getmany(timeout_ms=100, max_records=count - len(records))).values():
                    records += [{"topic": r.topic, "partition": r.partition, "offset": r.offset,
                                 "timestamp": r.timestamp, "timestamp_type": r.timestamp_type,
                                 "key": hexed(r.key), "value": hexed(r.value),
                                 "headers": headers_out(r.headers)} for r in batch]
            return {"records": records}
        finally:
            await consumer.stop()

    def list_offsets(self, **request):
        return self.run(self._list_offsets(**request))

    async def _list_offsets(self, topic, partition, at):
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        try:
            where = TopicPartition(topic, partition)
            if at == -1:
                return {"offset": (await consumer.end_offsets([where]))[where]}
            if at == -2:
                return {"offset": (await consumer.beginning_offsets([where]))[where]}
            found = (await consumer.offsets_for_times({where: at}))[where]
            return {"offset": found.offset if found else -1}
        finally:
            await consumer.stop()

    def subscribe(self, **request):
        return self.run(self._subscribe(**request))

    async def _subscribe(self, group, topics, strategy, reset, session_ms, instance=None, isolation=None,
                         transactional_id=None):
        if strategy not in STRATEGIES:
            raise Unsupported(strategy)
        self.member = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, group_instance_id=instance, enable_auto_commit=False,
            auto_offset_reset=reset, partition_assignment_strategy=[STRATEGIES[strategy]],
            session_timeout_ms=session_ms, heartbeat_interval_ms=max(100, session_ms // 10),
            metadata_max_age_ms=1000, **isolated(isolation))
        self.member.subscribe(topics, listener=self.changes)

    def poll(self, ms):
        return self.run(self._poll(ms))

    async def _poll(self, ms):
        if not self.member_runs:
            self.member_runs = True
            await self.member.start()
        deadline = time.monotonic() + ms / 1000
        records = []
        while (left := deadline - time.monotonic()) > 0:
            for batch in (await self.member.getmany(timeout_ms=int(min(left, 0.05) * 1000) + 1)).values():
                records += [[r.topic, r.partition, r.offset, hexed(r.value)] for r in batch]
        return {"assigned": [list(p) for p in self.member.assignment()], "records": records,
                "rebalances": self.changes.count}

    def commit(self, offsets=None):
        wanted = None if offsets is None else {
            TopicPartition(t, p): OffsetAndMetadata(o, m) for t, p, o, m in offsets}
        self.run(self.member.commit(wanted))

    def committed(self, partitions):
        found = [[t, p, self.run(self.member.committed(TopicPartition(t, p)))] for t, p in partitions]
        return {"offsets": [[t, p, -1 if offset is None else offset, ""] for t, p, offset in found]}

    def leave(self):
        self.run(self.member.stop())
        self.member = None
        self.member_runs = False

    def create_topics(self, **request):
        return self.run(self._create_topics(**request))

    async def _create_topics(self, topics, validate_only):
        wanted = [NewTopic(t["name"], t["partitions"], t["replication"], topic_configs=t["configs"])
                  if not t.get("assignment") else
                  NewTopic(t["name"], -1, -1, dict(enumerate(t["assignment"])), t["configs"]) for t in topics]
        done = await (await self.admin()).create_topics(wanted, validate_only=validate_only)
        return {"results": {entry[0]: entry[1] for entry in done.topic_errors}}

    def delete_topics(self, topics):
        async def delete():
            return await (await self.admin()).delete_topics(topics)
        return {"results": {entry[0]: entry[1] for entry in self.run(delete()).topic_error_codes}}

    def create_partitions(self, topic, count, validate_only):
        async def create():
            return await (await self.admin()).create_partitions(
                {topic: NewPartitions(count)}, validate_only=validate_only)
        return {"results": {entry[0]: entry[1] for entry in self.run(create()).topic_errors}}

    def list_topics(self):
        async def listed():
            return await (await self.admin()).list_topics()
        return {"topics": sorted(self.run(listed()))}

    def describe_topics(self, topics):
        async def described():
            return await (await self.admin()).describe_topics(topics)
        return {"topics": {t["topic"]: {"error": t["error_code"], "partitions": [
            {"partition": p["partition"], "leader": p["leader"], "replicas": p["replicas"], "isr": p["isr"]}
            for p in t["partitions"]]} for t in self.run(described())}}

    def describe_configs(self, type, name):
        async def described():
            return await (await self.admin()).describe_configs([ConfigResource(TYPES[type], name)])
        found = self.run(described())[0].resources[0]
        return {"configs": {entry[0]: entry[1] for entry in found[4]}}

    def alter_configs(self, type, name, configs):
        async def altered():
            return await (await self.admin()).alter_configs([ConfigResource(TYPES[type], name, configs)])
        return {"results": {entry[3]: entry[0] for entry in self.run(altered())[0].resources}}

    def delete_records(self, topic, partition, before):
        where = TopicPartition(topic, partition)

        async def deleted():
            return await (await self.admin()).delete_records({where: RecordsToDelete(before)})
        return {"low": self.run(deleted())[where]}

    def list_groups(self):
        async def listed():
            return await (await self.admin()).list_consumer_groups()
        return {"groups": sorted(group[0] for group in self.run(listed()))}

    def describe_group(self, group):
        async def described():
            return await (await self.admin()).describe_consumer_groups([group])
        _error, _name, state, _type, protocol, members = self.run(described())[0].groups[0][:6]
        from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
        assigned = sum(len(partitions) for member in members if member[4]
                       for _, partitions in ConsumerProtocolMemberAssignment.decode(member[4]).assignment)
        return {"state": state, "protocol": protocol, "members": len(members), "assigned": assigned}

    def group_offsets(self, group):
        async def listed():
            return await (await self.admin()).list_consumer_group_offsets(group)
        return {"offsets": [[p.topic, p.partition, c.offset, c.metadata] for p, c in self.run(listed()).items()]}

    def describe_cluster(self):
        async def described():
            return await (await self.admin()).describe_cluster()
        found = self.run(described())
        return {"cluster_id": found["cluster_id"], "controller": found["controller_id"],
                "brokers": [[b["node_id"], b["host"], b["port"]] for b in found["brokers"]]}


serve(Operations(sys.argv[1]), code_of)
