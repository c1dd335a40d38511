// The admin client of kafkajs: each check says its name when it held.
'use strict'

const assert = require('node:assert')
const { ConfigResourceTypes, Kafka, logLevel } = require('kafkajs')

const say = (fields) => process.stdout.write(JSON.stringify(fields) + '\n')

async function main({ bootstrap }) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()

  const { brokers, controller } = await admin.describeCluster()
  assert.deepStrictEqual(brokers.map(({ host, port }) => `${host}:${port}`), [bootstrap])
  say({ check: 'describe cluster' })

  assert.ok(await admin.createTopics({ topics: [{ topic: 'a', numPartitions: 3 }] }))
  assert.ok(!(await admin.createTopics({ topics: [{ topic: 'a' }] })), 'it exists')
  const configEntries = [{ name: 'cleanup.policy', value: 'compact' }]
  await assert.rejects(admin.createTopics({ topics: [{ topic: 'b', configEntries }] }))
  assert.ok((await admin.listTopics()).includes('a'))
  say({ check: 'create and list topics' })

  await admin.createPartitions({ topicPartitions: [{ topic: 'a', count: 5 }] })
  const { topics } = await admin.fetchTopicMetadata({ topics: ['a'] })
  assert.strictEqual(topics[0].partitions.length, 5)
  assert.ok(topics[0].partitions.every(({ leader }) => leader === controller))
  say({ check: 'create partitions and describe topics' })

  const { resources } = await admin.describeConfigs({
    includeSynonyms: true,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: 'a' }],
  })
  const value = (name) => resources[0].configEntries.find(({ configName }) => configName === name).configValue
  assert.strictEqual(value('cleanup.policy'), 'delete')
  assert.strictEqual(value('retention.ms'), '-1')
  say({ check: 'describe configs' })

  const producer = kafka.producer()
  await producer.connect()
  const messages = Array.from({ length: 100 }, (_, n) => ({ partition: 0, value: String(n), timestamp: String(1700000000000 + n) }))
  await producer.send({ topic: 'a', messages })
  await producer.disconnect()
  const first = (offsets) => offsets.find(({ partition }) => partition === 0)
  const { low, high } = first(await admin.fetchTopicOffsets('a'))
  assert.deepStrictEqual([low, high], ['0', '100'])
  assert.strictEqual(first(await admin.fetchTopicOffsetsByTimestamp('a', 1700000000050)).offset, '50')
  say({ check: 'list offsets' })

  await admin.deleteTopicRecords({ topic: 'a', partitions: [{ partition: 0, offset: '40' }] })
  assert.strictEqual(first(await admin.fetchTopicOffsets('a')).low, '40')
  say({ check: 'delete records' })

  const consumer = kafka.consumer({ groupId: 'g', maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: ['a'], fromBeginning: true })
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve))
  await consumer.run({ autoCommit: false, eachMessage: async () => {} })
  await joined
  assert.deepStrictEqual((await admin.listGroups()).groups, [{ groupId: 'g', protocolType: 'consumer' }])
  const { groups } = await admin.describeGroups(['g'])
  assert.deepStrictEqual([groups[0].state, groups[0].members.length], ['Stable', 1])
  await consumer.disconnect()
  say({ check: 'list and describe groups' })

  await admin.setOffsets({ groupId: 'g', topic: 'a', partitions: [{ partition: 0, offset: '60' }] })
  const [{ partitions }] = await admin.fetchOffsets({ groupId: 'g', topics: ['a'] })
  assert.strictEqual(first(partitions).offset, '60')
  say({ check: 'offsets of groups' })

  await admin.deleteGroups(['g'])
  assert.deepStrictEqual((await admin.listGroups()).groups, [])
  say({ check: 'delete groups' })

  await admin.deleteTopics({ topics: ['a'] })
  assert.ok(!(await admin.listTopics()).includes('a'))
  say({ check: 'delete topics' })
  await admin.disconnect()
  say({ done: true })
}

require('node:readline')
  .createInterface({ input: process.stdin })
  .once('line', (line) =>
    main(JSON.parse(line)).then(
      // What was written to a pipe may still be on its way.
    () => process.stdout.write('', () => process.exit(0)),
      (error) => {
        console.error(error)
        process.exit(1)
      }
    )
  )
