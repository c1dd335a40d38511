// kafkajs.
'use strict'

const readline = require('node:readline')
const { CompressionCodecs, CompressionTypes, Kafka, logLevel, Partitioners, PartitionAssigners } = require('kafkajs')

// It brings gzip alone; the others are plugged in.
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: ({ buffer }) => lz4.compressFrame(buffer),
  decompress: (bytes) => lz4.decompressFrame(bytes),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async ({ buffer }) => Buffer.from(zstd.compress(buffer, 3)),
  // It has no other way to know how large it can get.
  decompress: async (bytes) => Buffer.from(zstd.decompress(bytes, { defaultHeapSize: 16 << 20 })),
})

const say = (fields) => process.stdout.write(JSON.stringify(fields) + '\n')
const unhex = (text) => (text === null ? null : Buffer.from(text, 'hex'))
const enhex = (data) => (data === null || data === undefined ? null : Buffer.from(data).toString('hex'))
const number = (offset) => Number.parseInt(offset, 10)

const client = (job) =>
  new Kafka({
    brokers: [job.bootstrap],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 200 },
  })

function sayRecord(topic, partition, { offset, timestamp, key, value, headers }) {
  const pairs = Object.entries(headers ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => [name, enhex(value)])
  )
  const fields = { topic, partition, offset: number(offset), timestamp: number(timestamp) }
  say({ record: { ...fields, key: enhex(key), value: enhex(value), headers: pairs } })
}

// Headers of one name become an array, in their order.
function headersOf({ headers }) {
  const all = {}
  for (const [name, value] of headers) {
    all[name] = name in all ? [all[name], unhex(value)].flat() : unhex(value)
  }
  return all
}

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

async function produce(job) {
  for (const one of job.jobs) {
    const producer = client(job).producer({
      createPartitioner: Partitioners.DefaultPartitioner,
      idempotent: one.idempotent ?? false,
    })
    await producer.connect()
    const messages = one.records.map((record) => ({
      partition: record.partition,
      key: unhex(record.key),
      value: unhex(record.value),
      headers: headersOf(record),
      timestamp: String(record.timestamp),
    }))
    const stored = await producer.send({ topic: one.topic, compression: CODECS[one.codec], messages })
    for (const { topicName, partition, baseOffset } of stored) {
      say({ stored: [topicName, partition, number(baseOffset)] })
    }
    await producer.disconnect()
  }
}

// Numbers, for ever; a number is said when it is stored.
async function stream(job, stopped) {
  const producer = client(job).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    idempotent: true,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  let sent = 0
  while (!stopped.is) {
    const values = Array.from({ length: 20 }, () => String(sent++))
    const messages = values.map((value) => ({ partition: 0, value }))
    const [{ baseOffset }] = await producer.send({ topic: job.topic, messages })
    values.forEach((value, n) => say({ number: number(value), offset: number(baseOffset) + n }))
  }
  await producer.disconnect()
  say({ sent })
}

async function startOf(admin, { topic, partition, from }) {
  if (from.offset !== undefined) return String(from.offset)
  const offsets =
    from.timestamp === undefined
      ? await admin.fetchTopicOffsets(topic)
      : await admin.fetchTopicOffsetsByTimestamp(topic, from.timestamp)
  const found = offsets.find((one) => one.partition === partition)
  return { beginning: found.low, end: found.high }[from] ?? found.offset
}

// It reads in groups only: one that nobody else is in, and that is told where to begin.
async function consume(job) {
  const kafka = client(job)
  const admin = kafka.admin()
  await admin.connect()
  const starts = await Promise.all(job.places.map((place) => startOf(admin, place)))
  await admin.disconnect()
  const consumer = kafka.consumer({ groupId: `alone-${process.pid}-${Date.now()}`, maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topics: [...new Set(job.places.map((place) => place.topic))], fromBeginning: true })
  const left = new Map(job.places.map((place) => [`${place.topic}/${place.partition}`, place.count]))
  await new Promise((done, failed) => {
    const check = () => [...left.values()].every((count) => count === 0) && done()
    consumer
      .run({
        autoCommit: false,
        eachMessage: async ({ topic, partition, message }) => {
          const place = `${topic}/${partition}`
          const begin = job.places.findIndex((one) => `${one.topic}/${one.partition}` === place)
          // What was fetched before it was told where to begin.
          if (begin < 0 || number(message.offset) < number(starts[begin])) return
          if (left.get(place) > 0) {
            left.set(place, left.get(place) - 1)
            sayRecord(topic, partition, message)
          }
          check()
        },
      })
      .catch(failed)
    consumer.on(consumer.events.CRASH, ({ payload }) => payload.restart || failed(payload.error))
    job.places.forEach(({ topic, partition }, n) => consumer.seek({ topic, partition, offset: starts[n] }))
    say({ ready: true })
  })
  await consumer.disconnect()
}

async function group(job, stopped) {
  const consumer = client(job).consumer({
    groupId: job.group,
    partitionAssigners: [PartitionAssigners.roundRobin],
    sessionTimeout: job.session_ms,
    heartbeatInterval: 300,
    rebalanceTimeout: 20000,
    maxWaitTimeInMs: 100,
    metadataMaxAge: 1000,
  })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const assigned = Object.entries(payload.memberAssignment).flatMap(([topic, numbers]) =>
      numbers.map((partition) => [topic, partition])
    )
    say({ assigned: assigned.sort() })
  })
  await consumer.connect()
  await consumer.subscribe({ topics: job.topics, fromBeginning: true })
  await consumer.run({
    autoCommit: true,
    autoCommitThreshold: 20,
    eachMessage: async ({ topic, partition, message }) => sayRecord(topic, partition, { ...message, timestamp: '-1' }),
  })
  await stopped.when
  await consumer.disconnect()
  say({ left: true })
}

// Only a member of a group can commit metadata.
async function commit(job) {
  const consumer = client(job).consumer({ groupId: job.group, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: [...new Set(job.offsets.map(([topic]) => topic))] })
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve))
  await consumer.run({ autoCommit: false, eachMessage: async () => {} })
  await joined
  await consumer.commitOffsets(
    job.offsets.map(([topic, partition, offset, metadata]) => ({ topic, partition, offset: String(offset), metadata }))
  )
  await consumer.disconnect()
  say({ committed: true })
}

async function committed(job) {
  const admin = client(job).admin()
  await admin.connect()
  const topics = [...new Set(job.partitions.map(([topic]) => topic))]
  const found = await admin.fetchOffsets({ groupId: job.group, topics })
  for (const [topic, partition] of job.partitions) {
    const { partitions } = found.find((one) => one.topic === topic)
    const one = partitions.find((one) => one.partition === partition)
    const offset = one === undefined || one.offset === '-1' ? null : number(one.offset)
    say({ offset: [topic, partition, offset, one?.metadata ?? ''] })
  }
  await admin.disconnect()
}

const stopped = { is: false }
stopped.when = new Promise((resolve) => (stopped.resolve = resolve))
const lines = readline.createInterface({ input: process.stdin })
lines.once('line', (line) => {
  const verbs = { produce, stream, consume, group, commit, committed }
  zstd.init().then(() => verbs[process.argv[2]](JSON.parse(line), stopped)).then(
    // What was written to a pipe may still be on its way.
    () => process.stdout.write('', () => process.exit(0)),
    (error) => {
      console.error(error)
      process.exit(1)
    }
  )
})
lines.once('close', () => {
  stopped.is = true
  stopped.resolve()
})
