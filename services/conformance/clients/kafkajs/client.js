// Runs KafkaJS against a broker. The client has gzip only; other codecs are plug-ins, which are put in for the checks of codecs, at the
// end: until then it is what everybody installs.
'use strict'

const path = require('node:path')
const { createRequire } = require('node:module')

// The packages are where prepare.sh put them, not beside this file.
const packages = createRequire(path.join(process.env.CLIENT_PACKAGES, 'package.json'))
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel, AssignerProtocol } = packages('kafkajs')
const { FIRST_TIMESTAMP, Nothing, say, want, records, same, text, run } = require('./checks')

function plugIn() {
  CompressionCodecs[CompressionTypes.Snappy] = packages('kafkajs-snappy')
  // No package writes LZ4 that Kafka's Java reads; this one reads what others wrote.
  CompressionCodecs[CompressionTypes.LZ4] = () => ({ decompress: async buffer => Buffer.from(packages('lz4js').decompress(buffer)) })
  CompressionCodecs[CompressionTypes.ZSTD] = () => {
    const codec = new Promise(resolve => packages('zstd-codec').ZstdCodec.run(zstd => resolve(new zstd.Simple())))
    return {
      compress: async encoder => Buffer.from((await codec).compress(encoder.buffer)),
      decompress: async buffer => Buffer.from(packages('fzstd').decompress(buffer)),
    }
  }
}

const [, , what, brokers, ...rest] = process.argv

const kafka = new Kafka({
  brokers: [brokers],
  logLevel: logLevel.DEBUG,
  logCreator: () => ({ namespace, level, label, log }) => {
    const line = JSON.stringify(log, (_, v) => (typeof v === 'bigint' ? `${v}` : v))
    if (level <= logLevel.WARN) {
      say('log', label, namespace, line)
    }
    console.error(label, namespace, line)
  },
})

async function withClient(client, use) {
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.disconnect()
  }
}

const withProducer = (settings, use) => withClient(kafka.producer(settings), use)
const withAdmin = use => withClient(kafka.admin(), use)

const produce = (topic, compression) => () => {
  if (![CompressionTypes.None, CompressionTypes.GZIP].includes(compression)) {
    plugIn()
  }
  return withProducer({}, async producer => {
    const [answer] = await producer.send({ topic, compression, messages: records() })
    want('base offset', answer.baseOffset, '0')
  })
}

// inGroup reads a number of records as a member of a group, and calls meanwhile when they are there and the member still is.
async function inGroup(settings, topic, count, meanwhile = async () => {}, from = undefined) {
  const consumer = kafka.consumer(settings)
  await consumer.connect()
  try {
    await consumer.subscribe({ topic, fromBeginning: true })
    const messages = []
    await new Promise((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
      consumer.run({
        autoCommit: settings.autoCommit ?? true,
        eachMessage: async ({ message, partition }) => {
          messages.push({ ...message, partition })
          if (messages.length === count) {
            resolve()
          }
        },
      }).catch(reject)
      if (from !== undefined) {
        consumer.seek({ topic, partition: 0, offset: from })
      }
    })
    await meanwhile(messages, consumer)
    want('records', messages.length, count)
    return messages
  } finally {
    await consumer.disconnect()
  }
}

async function consume() {
  const messages = await inGroup({ groupId: 'consume' }, 'gzip', 100)
  messages.forEach((m, i) => same(i, m))
}

async function consumeByTime() {
  await withAdmin(async admin => {
    const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp('gzip', FIRST_TIMESTAMP + 50)
    want('offset', offset, '50')
    const messages = await inGroup({ groupId: 'consume-by-time' }, 'gzip', 50, undefined, offset)
    messages.forEach((m, i) => same(50 + i, m))
  })
}

async function consumeCodecs() {
  const messages = await inGroup({ groupId: 'consume-codecs' }, 'golden', 500)
  messages.forEach((m, i) => same(i % 100, m, null))
}

async function createTopic(topic, numPartitions) {
  await withAdmin(admin => admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] }))
}

async function idempotent() {
  await createTopic('idempotent', 3)
  await withProducer({ idempotent: true }, async producer => {
    for (let i = 0; i < 3000; i += 100) {
      const messages = Array.from({ length: 100 }, (_, j) => ({ key: `${(i + j) % 7}`, value: `${i + j}` }))
      await producer.send({ topic: 'idempotent', messages })
    }
  })
  const last = [-7, -6, -5, -4, -3, -2, -1]
  for (const m of await inGroup({ groupId: 'idempotent' }, 'idempotent', 3000)) {
    const n = Number(m.value)
    want(`what follows ${last[n % 7]}`, n, last[n % 7] + 7)
    last[n % 7] = n
  }
}

// transactional settings are those that the client's documentation asks for.
const transactional = transactionalId => ({ transactionalId, idempotent: true, maxInFlightRequests: 1 })

async function transaction() {
  await createTopic('transactions', 2)
  await withProducer(transactional('transaction'), async producer => {
    for (let i = 0; i < 10; i++) {
      const t = await producer.transaction()
      const word = i % 2 === 0 ? 'committed' : 'aborted'
      await t.send({ topic: 'transactions', messages: Array.from({ length: 20 }, (_, j) => ({ key: `${j}`, value: `${word} ${i}` })) })
      await (i % 2 === 0 ? t.commit() : t.abort())
    }
  })
  const committed = await inGroup({ groupId: 'committed' }, 'transactions', 100) // read committed is the default
  want('aborted', committed.filter(m => !text(m.value).startsWith('committed')).length, 0)
  await inGroup({ groupId: 'uncommitted', readUncommitted: true }, 'transactions', 200)
}

async function transactionOffsets() {
  for (const [end, wanted] of [['abort', '-1'], ['commit', '100']]) {
    await withProducer(transactional('mover'), async producer => {
      await inGroup({ groupId: 'movers', autoCommit: false }, 'gzip', 100, async messages => {
        const t = await producer.transaction()
        await t.send({ topic: 'moved', messages: messages.map(m => ({ value: m.value })) })
        await t.sendOffsets({ consumerGroupId: 'movers', topics: [{ topic: 'gzip', partitions: [{ partition: 0, offset: '100' }] }] })
        await t[end]()
      })
      await withAdmin(async admin => {
        const [{ partitions }] = await admin.fetchOffsets({ groupId: 'movers', topics: ['gzip'] })
        want('committed offset', partitions[0].offset, wanted)
      })
    })
  }
}

async function fence() {
  await withProducer(transactional('fenced'), async old => {
    const t = await old.transaction()
    await t.send({ topic: 'transactions', messages: [{ value: 'zombie' }] })
    await withProducer(transactional('fenced'), async fresh => {
      await (await fresh.transaction()).abort()
    })
    await t.commit().then(
      () => { throw new Error('the first producer was not fenced') },
      e => want('error of the first', ['PRODUCER_FENCED', 'INVALID_PRODUCER_EPOCH'].includes(e.type), true),
    )
  })
}

async function refused(type, promise) {
  await promise.then(
    () => { throw new Error(`not refused with ${type}`) },
    e => want('error', (e.errors?.[0] ?? e.groups?.[0]?.error ?? e).type, type),
  )
}

const adminTopics = () =>
  withAdmin(async admin => {
    const topic = 'administered'
    const topics = [{ topic, numPartitions: 3, replicationFactor: 1, configEntries: [{ name: 'retention.ms', value: '86400000' }] }]
    want('created', await admin.createTopics({ topics }), true)
    want('created twice', await admin.createTopics({ topics }), false)
    await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
    want('partitions', (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length, 5)
    await admin.deleteTopics({ topics: [topic] })
    want('there after its deletion', (await admin.listTopics()).includes(topic), false)
    want('nodes', (await admin.describeCluster()).brokers.length, 1)
  })

const adminConfigs = () =>
  withAdmin(async admin => {
    const topic = { type: ConfigResourceTypes.TOPIC, name: 'gzip' }
    // The client has the older request only: what is not named goes back to its default.
    for (const [name, value, wanted] of [['retention.ms', '123456789', '123456789'], ['flush.ms', '1000', '604800000']]) {
      await admin.alterConfigs({ validateOnly: false, resources: [{ ...topic, configEntries: [{ name, value }] }] })
      const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ ...topic, configNames: ['retention.ms'] }] })
      want('retention.ms', resources[0].configEntries.map(e => e.configValue), [wanted])
    }
  })

const adminGroups = () =>
  withAdmin(async admin => {
    const groupId = 'described'
    await inGroup({ groupId }, 'gzip', 100, async () => {
      const { groups } = await admin.describeGroups([groupId])
      want('state', groups[0].state, 'Stable')
      want('assignment', AssignerProtocol.MemberAssignment.decode(groups[0].members[0].memberAssignment).assignment, { gzip: [0] })
    })
    want('listed', (await admin.listGroups()).groups.some(g => g.groupId === groupId), true)
    want('offset', (await admin.fetchOffsets({ groupId, topics: ['gzip'] }))[0].partitions[0].offset, '100')
    await admin.deleteGroups([groupId])
    await refused('GROUP_ID_NOT_FOUND', admin.deleteGroups([groupId]))
  })

const adminOffsets = () =>
  withAdmin(async admin => {
    const [{ low, high }] = await admin.fetchTopicOffsets('gzip')
    want('offsets', [low, high], ['0', '100'])
    want('by time', (await admin.fetchTopicOffsetsByTimestamp('gzip', FIRST_TIMESTAMP + 10))[0].offset, '10')
    await admin.setOffsets({ groupId: 'set', topic: 'gzip', partitions: [{ partition: 0, offset: '42' }] })
    want('committed', (await admin.fetchOffsets({ groupId: 'set', topics: ['gzip'] }))[0].partitions[0].offset, '42')
  })

const adminDeleteRecords = () =>
  withAdmin(async admin => {
    await admin.fetchTopicOffsets('snappy') // or the client says that it has no metadata of the topic
    await admin.deleteTopicRecords({ topic: 'snappy', partitions: [{ partition: 0, offset: '30' }] })
    want('start', (await admin.fetchTopicOffsets('snappy'))[0].low, '30')
  })

async function member(groupId, topic) {
  const consumer = kafka.consumer({ groupId })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => say('assigned', [...(payload.memberAssignment[topic] ?? [])].sort().join(',')))
  consumer.on(consumer.events.REBALANCING, () => say('assigned'))
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      batch.messages.forEach(m => say('record', batch.partition, m.offset))
      const offset = `${BigInt(batch.lastOffset()) + 1n}`
      try {
        await consumer.commitOffsets([{ topic, partition: batch.partition, offset }])
        say('committed', batch.partition, offset)
      } catch (e) {
        say('uncommitted', e)
        throw e
      }
    },
  })
  for await (const _ of process.stdin) {
    // what comes before the end says nothing
  }
  await consumer.disconnect()
  say('closed')
}

const checks = {
  'produce-gzip': produce('gzip', CompressionTypes.GZIP),
  'produce-none': produce('none', CompressionTypes.None),
  'consume': consume,
  'consume-by-time': consumeByTime,
  'idempotent': idempotent,
  'transaction': transaction,
  'transaction-offsets': transactionOffsets,
  'transaction-fence': fence,
  'admin-topics': adminTopics,
  'admin-configs': adminConfigs,
  'admin-groups': adminGroups,
  'admin-offsets': adminOffsets,
  'produce-lz4': () => { throw new Nothing('no plug-in without native code') },
  'produce-snappy': produce('snappy', CompressionTypes.Snappy),
  'produce-zstd': produce('zstd', CompressionTypes.ZSTD),
  'consume-codecs': consumeCodecs,
  'admin-delete-records': adminDeleteRecords,
}

if (what === 'member') {
  member(...rest)
} else {
  run(`kafkajs ${packages('kafkajs/package.json').version} on Node.js ${process.versions.node}`, checks)
}
