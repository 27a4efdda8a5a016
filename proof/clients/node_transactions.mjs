// Transactions through ioredis and node-redis: `node_transactions.mjs LIBRARY ADDRESSES SECONDS`, in the folder of its
// packages. Does and prints what `python_transactions.py` does and prints.
import { createRequire } from 'node:module'

const WORKERS = 3
const COUNTERS = 2
const PAUSE_MS = 4
const GIVE_UP_MS = 2000
const WRONG_MAX = 5
const TRIES = 20

const require = createRequire(process.cwd() + '/')
const [library, listed, seconds] = process.argv.slice(2)
const [name, mode] = library.split(' ')
const addresses = listed.split(',').map((pair) => ({ host: pair.split(':')[0], port: Number(pair.split(':')[1]) }))
const quiet = (client) => client.on('error', () => {})
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms))

function within(ms, promise) {
  let timer
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`no answer in ${ms} ms`)), ms) })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// A connection of its own, on which a worker may watch keys: to one address, until it fails; or to the master of the
// slot of a key, as the cluster client knows it. After a failure a worker makes a new one.
async function ioredis() {
  const { Redis, Cluster } = require(name)
  const settings = { retryStrategy: null, maxRetriesPerRequest: 0, lazyConnect: true }
  const cluster = mode === 'cluster' ? quiet(new Cluster(addresses)) : undefined
  const opened = async (address) => {
    const client = quiet(new Redis({ ...address, ...settings }))
    await client.connect()
    return client
  }
  const pairs = (results) => {
    if (results === null) return null
    for (const [error] of results) if (error) throw error
    return results.map(([, value]) => value)
  }
  return {
    // The map of the cluster is the library's own affair; its `multi` finds the node.
    multi: cluster && (async (words) => pairs(await cluster.multi(words).exec())),
    get: cluster && ((key) => cluster.get(key)),
    open: (turn) => opened(addresses[turn % addresses.length]),
    watch: (client, key) => client.watch(key),
    onOne: async (client, words) => pairs(await client.multi(words).exec()),
    close: (client) => client.disconnect(),
  }
}

async function nodeRedis() {
  const { createClient, createCluster, WatchError } = require(name)
  const filled = (multi, words) => words.reduce((before, word) => before[word[0]](...word.slice(1)), multi)
  const executed = async (multi) => {
    try {
      return await multi.exec()
    } catch (error) {
      if (error instanceof WatchError) return null
      throw error
    }
  }
  let cluster
  const rootNodes = addresses.map(({ host, port }) => ({ url: `redis://${host}:${port}` }))
  const joined = async () => {
    const settings = name === 'redis6' ? { topologyRefreshOnReconnectionAttemptStrategy: 200 }
      : { defaults: { socket: { reconnectStrategy: false } } }
    const client = quiet(createCluster({ rootNodes, ...settings }))
    await client.connect()
    return client
  }
  // A cluster client that fails is made anew, as in `node_program.mjs`.
  const onCluster = async (act) => {
    const used = (cluster ??= joined())
    try {
      return await within(GIVE_UP_MS, used.then(act))
    } catch (error) {
      if (cluster === used && name !== 'redis6') cluster = undefined
      throw error
    }
  }
  const isCluster = mode === 'cluster'
  return {
    multi: isCluster && ((words) => onCluster((client) => executed(filled(client.multi(), words)))),
    get: isCluster && ((key) => onCluster((client) => client.get(key))),
    open: async (turn) => {
      const socket = { ...addresses[turn % addresses.length], reconnectStrategy: false }
      const client = quiet(createClient({ socket }))
      await client.connect()
      return client
    },
    watch: (client, key) => client.watch(key),
    onOne: (client, words) => executed(filled(client.multi(), words)),
    close: (client) => (client.destroy ? client.destroy() : client.disconnect()),
  }
}

const told = { successes: [], errors: [], wrong: [], changed: 0 }
const texts = new Map(), attempts = new Map(), acknowledged = new Map()
const fault = (text) => { if (told.wrong.length < WRONG_MAX) told.wrong.push(text) }

function worker(kind, number) {
  let client, turn = 0
  const own = {
    async use(act) {
      try {
        client ??= await within(GIVE_UP_MS, kind.open(turn))
        return await within(GIVE_UP_MS, act(client))
      } catch (error) {
        const failed = client
        client = undefined
        // A client of node-redis 5 that is closed already cannot be closed.
        if (failed) try { await kind.close(failed) } catch {}
        turn += 1
        throw error
      }
    },
    multi: (words) => kind.multi ? within(GIVE_UP_MS, kind.multi(words)) : own.use((one) => kind.onOne(one, words)),
    get: (key) => kind.get ? within(GIVE_UP_MS, kind.get(key)) : own.use((one) => one.get(key)),
    number,
    acknowledged: 0,
    // Numbers of transactions without an answer: each may have been executed, and may show.
    maybe: new Set(),
  }
  return own
}

async function setPair(own, prefix, turn) {
  const tag = `{${prefix}:${own.number}}`
  own.maybe.add(turn)
  await own.multi([['set', `${tag}a`, String(turn)], ['set', `${tag}b`, String(turn)]])
  own.acknowledged = turn
  own.maybe.delete(turn)
  const [one, other] = (await own.multi([['get', `${tag}a`], ['get', `${tag}b`]])).map(Number)
  if (one !== other || (one !== own.acknowledged && !own.maybe.has(one))) {
    fault(`${tag}a and ${tag}b are ${one} and ${other}, acknowledged is ${own.acknowledged}`)
  }
  own.acknowledged = one
}

async function increase(own, key) {
  for (;;) {
    let number
    const done = await own.use(async (client) => {
      await kind.watch(client, key)
      number = Number(await client.get(key)) + 1
      attempts.set(key, (attempts.get(key) ?? 0) + 1)
      return kind.onOne(client, [['set', key, String(number)]])
    })
    if (done === null) {
      told.changed += 1
      continue
    }
    const numbers = acknowledged.get(key) ?? acknowledged.set(key, new Set()).get(key)
    if (numbers.has(number)) fault(`two transactions set ${key} to ${number}`)
    numbers.add(number)
    return
  }
}

async function work(own, prefix, ends) {
  for (let turn = 1; Date.now() < ends; turn++) {
    try {
      if (turn % 2) await setPair(own, prefix, turn)
      else await increase(own, `{${prefix}}counter:${(turn / 2) % COUNTERS}`)
      told.successes.push(Date.now() / 1000)
    } catch (error) {
      told.errors.push(Date.now() / 1000)
      const text = `${error.name}: ${error.message}`.slice(0, 100)
      texts.set(text, (texts.get(text) ?? 0) + 1)
    }
    await sleep(PAUSE_MS)
  }
}

async function checkCounters(own) {
  for (const [key, numbers] of acknowledged) {
    for (let left = TRIES; ; left--) {
      try {
        const value = Number(await own.get(key))
        const most = attempts.get(key)
        if (value < numbers.size || value > most) fault(`${key} is ${value} in the end, not ${numbers.size} to ${most}`)
        break
      } catch (error) {
        if (!left) throw error
        await sleep(100)
      }
    }
  }
}

const kind = await (name.startsWith('ioredis') ? ioredis() : nodeRedis())
const workers = Array.from({ length: WORKERS }, (_, number) => worker(kind, number))
const prefix = `${library} ${process.pid}`
for (let i = 0; i < 20; i++) await workers[i % WORKERS].get(`{${prefix}:${i}}a`)
console.log(JSON.stringify({ connected: true }))
const ends = Date.now() + Number(seconds) * 1000
await Promise.all(workers.map((own) => work(own, prefix, ends)))
await checkCounters(workers[0])
told.successes.sort((a, b) => a - b)
told.texts = [...texts].sort((a, b) => b[1] - a[1]).slice(0, 3)
process.stdout.write(JSON.stringify(told) + '\n', () => process.exit(0))
