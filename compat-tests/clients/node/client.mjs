// kafkajs: see ../README.md for the operations.
import { createInterface } from 'node:readline'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'
import lz4 from 'lz4-napi'
import zstdCodec from 'zstd-codec'
import * as fzstd from 'fzstd'

const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, AssignerProtocol, PartitionAssigners, logLevel } = kafkajs
const UNSUPPORTED = 35

const zstd = await new Promise(resolve => zstdCodec.ZstdCodec.run(module => resolve(new module.Simple())))
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrameSync(encoder.buffer),
  decompress: async buffer => lz4.decompressFrameSync(buffer),
})
// zstd-codec reads no frame without its size, which is what streaming compressors write.
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(fzstd.decompress(buffer)),
})
const CODECS = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
}

const kafka = new Kafka({
  clientId: 'compat', brokers: [process.argv[2]], logLevel: logLevel.ERROR,
  logCreator: () => ({ log }) => process.stderr.write(`${log.message} ${JSON.stringify(log)}\n`),
  retry: { initialRetryTime: 50, maxRetryTime: 1000, retries: 12 },
})
const producers = new Map()
let connectedAdmin
let member
let transactional
let begun
let transaction

const unhex = text => text === null || text === undefined ? null : Buffer.from(text, 'hex')
const hex = bytes => bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('hex')
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

async function admin() {
  if (!connectedAdmin) {
    connectedAdmin = kafka.admin()
    await connectedAdmin.connect()
  }
  return connectedAdmin
}

// The library throws one error for a request about several resources: this finds each one's code in it.
async function results(names, action) {
  try {
    const done = await action()
    return { results: Object.fromEntries(names.map(name => [name, done === false ? 36 : 0])) }
  } catch (error) {
    const parts = error.errors ?? error.groups ?? []
    if (!parts.length) return { results: Object.fromEntries(names.map(name => [name, codeOf(error)])) }
    const codes = Object.fromEntries(names.map(name => [name, 0]))
    for (const part of parts) codes[part.topic ?? part.groupId] = codeOf(part.error ?? part)
    return { results: codes }
  }
}

const codeOf = error => Number.isInteger(error.code) ? error.code : Number.isInteger(error.errorCode) ? error.errorCode
  : error.cause ? codeOf(error.cause) : error.originalError ? codeOf(error.originalError) : -1

function headersIn(headers) {
  const named = {}
  for (const [name, value] of headers) named[name] = name in named ? [named[name], unhex(value)].flat() : unhex(value)
  return named
}

function headersOut(headers) {
  return Object.entries(headers ?? {}).flatMap(([name, value]) => [value].flat().map(one => [name, hex(one)]))
}

const record = (topic, partition, message) => ({
  topic, partition, offset: Number(message.offset), timestamp: Number(message.timestamp), timestamp_type: -1,
  key: hex(message.key), value: hex(message.value), headers: headersOut(message.headers),
})

// Without a level, the library's default holds.
const isolated = level => level === undefined ? {} : { readUncommitted: level === 'read_uncommitted' }

async function sendAll(sender, topic, how, records) {
  const answers = []
  // An answer names the first offset of each partition's batch; the records of one call to one partition follow in order.
  for (const one of records) {
    const messages = [{ key: unhex(one.key), value: unhex(one.value), headers: headersIn(one.headers),
      ...(one.partition === undefined ? {} : { partition: one.partition }),
      ...(one.timestamp === undefined ? {} : { timestamp: String(one.timestamp) }) }]
    try {
      const [done] = await sender.send({ topic, timeout: 30000, messages, ...how })
      answers.push({ partition: done?.partition ?? -1, offset: Number(done?.baseOffset ?? -1) })
    } catch (error) {
      answers.push({ partition: -1, offset: -1, error: codeOf(error) })
    }
  }
  return { acks: answers }
}

const operations = {
  // The library initialises a producer as it begins the first transaction.
  async init_transactions({ id, timeout_ms }) {
    transactional = kafka.producer({ transactionalId: id, idempotent: true, maxInFlightRequests: 1, transactionTimeout: timeout_ms ?? 60000,
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
    await transactional.connect()
    begun = await transactional.transaction()
  },

  async begin_transaction() {
    transaction = begun ?? await transactional.transaction()
    begun = undefined
  },

  send: ({ topic, records }) => sendAll(transaction, topic, { acks: -1 }, records),

  async send_offsets({ group, offsets }) {
    await transaction.sendOffsets({ consumerGroupId: group, topics: offsets.map(([topic, partition, offset]) =>
      ({ topic, partitions: [{ partition, offset: String(offset) }] })) })
  },

  commit_transaction: () => transaction.commit(),

  abort_transaction: () => transaction.abort(),

  async produce({ topic, codec, acks, idempotent, records }) {
    const settings = `${idempotent}`
    if (!producers.has(settings)) {
      const producer = kafka.producer({ idempotent, maxInFlightRequests: 1, createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
      await producer.connect()
      producers.set(settings, producer)
    }
    return sendAll(producers.get(settings), topic, { acks, compression: CODECS[codec] }, records)
  },

  // The library has no consumer without a group, so that this one takes a group of its own and seeks.
  async consume({ partitions, from, count, timeout_ms, isolation }) {
    const groupId = `compat-read-${process.pid}-${Math.random().toString(36).slice(2)}`
    const consumer = kafka.consumer({ groupId, maxBytesPerPartition: 16 << 20, maxBytes: 64 << 20, maxWaitTimeInMs: 100,
      ...isolated(isolation) })
    const wanted = new Set(partitions.map(([topic, partition]) => `${topic} ${partition}`))
    const topics = [...new Set(partitions.map(([topic]) => topic))]
    const records = []
    let finish
    const finished = new Promise(resolve => { finish = resolve })
    await consumer.connect()
    try {
      const starts = new Map()
      for (const [topic, partition] of partitions) {
        if (from === 'earliest') continue
        let offset = from
        if (typeof from === 'object') {
          const found = await (await admin()).fetchTopicOffsetsByTimestamp(topic, from.timestamp)
          offset = found.find(entry => entry.partition === partition).offset
        }
        starts.set(`${topic} ${partition}`, [topic, partition, String(offset)])
      }
      await consumer.subscribe({ topics, fromBeginning: true })
      const seek = () => { for (const [topic, partition, offset] of starts.values()) consumer.seek({ topic, partition, offset }) }
      consumer.on(consumer.events.GROUP_JOIN, seek)
      await consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch, isRunning }) => {
          const first = starts.get(`${batch.topic} ${batch.partition}`)
          for (const message of batch.messages) {
            if (!isRunning() || records.length >= count) break
            if (first && BigInt(message.offset) < BigInt(first[2])) continue
            if (wanted.has(`${batch.topic} ${batch.partition}`)) records.push(record(batch.topic, batch.partition, message))
          }
          if (records.length >= count) finish()
        },
      })
      await Promise.race([finished, sleep(timeout_ms)])
    } finally {
      await consumer.disconnect()
    }
    return { records: records.slice(0, count) }
  },

  async list_offsets({ topic, partition, at }) {
    const api = await admin()
    if (at >= 0) {
      const found = (await api.fetchTopicOffsetsByTimestamp(topic, at)).find(entry => entry.partition === partition)
      return { offset: Number(found.offset) }
    }
    const found = (await api.fetchTopicOffsets(topic)).find(entry => entry.partition === partition)
    return { offset: Number(at === -1 ? found.high : found.low) }
  },

  async subscribe({ group, topics, strategy, reset, session_ms, isolation }) {
    if (strategy !== 'roundrobin') throw Object.assign(new Error(`${strategy} is not in this library`), { code: UNSUPPORTED })
    const consumer = kafka.consumer({
      groupId: group, sessionTimeout: session_ms, heartbeatInterval: Math.max(100, session_ms / 10), rebalanceTimeout: 10000,
      maxWaitTimeInMs: 100, metadataMaxAge: 1000, partitionAssigners: [PartitionAssigners.roundRobin],
      retry: { initialRetryTime: 50, retries: 12 }, ...isolated(isolation),
    })
    member = { consumer, assigned: [], records: [], positions: new Map(), rebalances: 0 }
    await consumer.connect()
    await consumer.subscribe({ topics, fromBeginning: reset === 'earliest' })
    const joined = member
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      joined.rebalances += 1
      joined.assigned = Object.entries(payload.memberAssignment).flatMap(([topic, list]) => list.map(partition => [topic, partition]))
    })
    consumer.on(consumer.events.REBALANCING, () => { joined.assigned = [] })
    await consumer.run({
      autoCommit: false, partitionsConsumedConcurrently: 1,
      eachMessage: async ({ topic, partition, message }) => {
        joined.records.push([topic, partition, Number(message.offset), hex(message.value)])
        joined.positions.set(`${topic} ${partition}`, [topic, partition, Number(message.offset) + 1])
      },
    })
  },

  async poll({ ms }) {
    await sleep(ms)
    return { assigned: member.assigned, records: member.records.splice(0), rebalances: member.rebalances }
  },

  async commit({ offsets }) {
    const chosen = offsets ?? [...member.positions.values()].filter(([topic, partition]) =>
      member.assigned.some(one => one[0] === topic && one[1] === partition))
    await member.consumer.commitOffsets(chosen.map(([topic, partition, offset, metadata]) =>
      ({ topic, partition, offset: String(offset), metadata: metadata ?? '' })))
  },

  async leave() {
    await member.consumer.disconnect()
    member = undefined
  },

  create_topics: async ({ topics, validate_only }) => {
    const api = await admin()
    return results(topics.map(topic => topic.name), () => api.createTopics({
      validateOnly: validate_only, waitForLeaders: !validate_only, timeout: 30000,
      topics: topics.map(({ name, partitions, replication, assignment, configs }) => ({
        topic: name, configEntries: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
        ...(assignment ? { numPartitions: -1, replicationFactor: -1, replicaAssignment: assignment.map((replicas, partition) => ({ partition, replicas })) }
          : { numPartitions: partitions, replicationFactor: replication }),
      })),
    }))
  },

  delete_topics: async ({ topics }) => {
    const api = await admin()
    return results(topics, () => api.deleteTopics({ topics, timeout: 30000 }))
  },

  create_partitions: async ({ topic, count, validate_only }) => {
    const api = await admin()
    return results([topic], () => api.createPartitions({ validateOnly: validate_only, topicPartitions: [{ topic, count }] }))
  },

  list_topics: async () => ({ topics: (await (await admin()).listTopics()).sort() }),

  describe_topics: async ({ topics }) => {
    try {
      const { topics: found } = await (await admin()).fetchTopicMetadata({ topics })
      return { topics: Object.fromEntries(found.map(({ name, partitions }) => [name, {
        error: 0,
        partitions: partitions.map(p => ({ partition: p.partitionId, leader: p.leader, replicas: p.replicas, isr: p.isr })),
      }])) }
    } catch (error) {
      return { topics: Object.fromEntries(topics.map(topic => [topic, { error: codeOf(error), partitions: [] }])) }
    }
  },

  describe_configs: async ({ type, name }) => {
    const found = await (await admin()).describeConfigs({ includeSynonyms: true, resources: [{ type: ConfigResourceTypes[type.toUpperCase()], name }] })
    return { configs: Object.fromEntries(found.resources[0].configEntries.map(entry => [entry.configName, entry.configValue])) }
  },

  alter_configs: async ({ type, name, configs }) => {
    const api = await admin()
    return results([name], () => api.alterConfigs({ validateOnly: false, resources: [{
      type: ConfigResourceTypes[type.toUpperCase()], name,
      configEntries: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
    }] }))
  },

  delete_records: async ({ topic, partition, before }) => {
    const api = await admin()
    // It knows leaders only of topics that it was asked about before.
    await api.fetchTopicOffsets(topic)
    await api.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
    const found = (await api.fetchTopicOffsets(topic)).find(entry => entry.partition === partition)
    return { low: Number(found.low) }
  },

  list_groups: async () => ({ groups: (await (await admin()).listGroups()).groups.map(group => group.groupId).sort() }),

  describe_group: async ({ group }) => {
    const found = (await (await admin()).describeGroups([group])).groups[0]
    const assigned = found.members.reduce((sum, one) => {
      const decoded = one.memberAssignment.length ? AssignerProtocol.MemberAssignment.decode(one.memberAssignment) : null
      return sum + Object.values(decoded?.assignment ?? {}).reduce((count, list) => count + list.length, 0)
    }, 0)
    return { state: found.state, protocol: found.protocol, members: found.members.length, assigned }
  },

  delete_groups: async ({ groups }) => {
    const api = await admin()
    return results(groups, () => api.deleteGroups(groups))
  },

  group_offsets: async ({ group }) => ({
    offsets: (await (await admin()).fetchOffsets({ groupId: group })).flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, offset, metadata }) => [topic, partition, Number(offset), metadata ?? ''])),
  }),

  alter_group_offsets: async ({ group, offsets }) => {
    const api = await admin()
    for (const [topic, partition, offset] of offsets) {
      await api.setOffsets({ groupId: group, topic, partitions: [{ partition, offset: String(offset) }] })
    }
  },

  describe_cluster: async () => {
    const found = await (await admin()).describeCluster()
    return { cluster_id: found.clusterId, controller: found.controller, brokers: found.brokers.map(b => [b.nodeId, b.host, b.port]) }
  },
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const request = JSON.parse(line)
  let answer
  try {
    const operation = operations[request.op]
    if (!operation) throw Object.assign(new Error(`${request.op} is not in this library`), { code: UNSUPPORTED })
    answer = { ok: (await operation(request)) ?? {} }
  } catch (error) {
    process.stderr.write(`${error.stack}\n`)
    answer = { code: codeOf(error), message: String(error) }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
process.exit(0)
