// The frame of the program that runs KafkaJS against a broker.
//
//   client.js checks BROKERS                         runs every check, and prints a line for each
//   client.js member BROKERS GROUP TOPIC PROTOCOL    is a member of a group until its standard input ends
//
// The lines are those that the other languages' programs print too; the Go package conformance reads them.
'use strict'

const { isDeepStrictEqual } = require('node:util')

const FIRST_TIMESTAMP = Number(process.env.FIRST_TIMESTAMP)
const LIMIT_MILLIS = 60_000

const say = (...words) => process.stdout.write(words.join(' ').replaceAll('\n', ' ') + '\n')

function want(what, got, wanted) {
  if (!isDeepStrictEqual(got, wanted)) {
    throw new Error(`${what}: ${JSON.stringify(got)}, want ${JSON.stringify(wanted)}`)
  }
}

const key = i => (i % 10 === 3 ? null : `key ${i}`)
const value = i => (i % 10 === 7 ? null : `value ${i} ${'x'.repeat(100)}`)

// records are the hundred that every program writes.
// The client writes no null headers.
const records = () =>
  Array.from({ length: 100 }, (_, i) => ({
    key: key(i), value: value(i), headers: { n: `${i}`, null: '' }, timestamp: `${FIRST_TIMESTAMP + i}`, partition: 0,
  }))

const text = bytes => (bytes === null ? null : bytes.toString())

// same fails unless a message is the i-th of the hundred. nullHeader is what a null header is in it.
function same(i, message, nullHeader = '') {
  want(`key of record ${i}`, text(message.key), key(i))
  want(`value of record ${i}`, text(message.value), value(i))
  want(`headers of record ${i}`, [Object.keys(message.headers), text(message.headers.n), text(message.headers.null)], [['n', 'null'], `${i}`, nullHeader])
  want(`timestamp of record ${i}`, message.timestamp, `${FIRST_TIMESTAMP + i}`)
}

// Nothing is thrown where the client has no such thing.
class Nothing extends Error {}

async function run(version, checks) {
  say('version', version)
  for (const [name, check] of Object.entries(checks)) {
    let timer
    const limit = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('took too long')), LIMIT_MILLIS)
    })
    try {
      await Promise.race([check(), limit])
      say('ok', name)
    } catch (e) { // whatever it is, it is the check's result
      if (e instanceof Nothing) {
        say('none', `${name}: ${e.message}`)
        continue
      }
      console.error(e)
      say('FAIL', `${name}: ${e}`)
    } finally {
      clearTimeout(timer)
    }
  }
}

module.exports = { FIRST_TIMESTAMP, Nothing, say, want, records, same, text, run }
