// One JavaScript library at work: `node_program.mjs LIBRARY ADDRESSES SECONDS`, in the folder of its packages.
// Prints one line of JSON when it is connected, and one with what happened at the end, as `python_program.py` does.
import { createRequire } from 'node:module'

const KEYS = 24
const PAUSE_MS = 4
const NEXT_ADDRESS_MS = 500
const GIVE_UP_MS = 5000
const WRONG_MAX = 5
// Until a dead node makes node-redis 6 read the map again; 5 s by default.
const REFRESH_MS = 200

const require = createRequire(process.cwd() + '/')
const [library, listed, seconds] = process.argv.slice(2)
const addresses = listed.split(',').map((pair) => ({ host: pair.split(':')[0], port: Number(pair.split(':')[1]) }))
// Libraries tell of lost connections by events too; the errors of requests are what counts here.
const quiet = (client) => client.on('error', () => {})
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms))

function within(ms, promise) {
  let timer
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`no answer in ${ms} ms`)), ms) })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Clients of single addresses, of which one is used until it fails.
function oneOf(clients) {
  let at = 0
  return {
    async call(name, ...words) {
      try {
        return await within(NEXT_ADDRESS_MS, clients[at][name](...words))
      } catch (error) {
        at = (at + 1) % clients.length
        throw error
      }
    },
  }
}

// A client that is made at the first request, and anew after each error.
function made(make) {
  let client
  return {
    async call(name, ...words) {
      try {
        client ??= await within(GIVE_UP_MS, make())
        return await within(NEXT_ADDRESS_MS, client[name](...words))
      } catch (error) {
        client = undefined
        throw error
      }
    },
  }
}

const direct = (client) => ({ call: (name, ...words) => within(GIVE_UP_MS, client[name](...words)) })

async function clientOf() {
  const [name, mode] = library.split(' ')
  if (name.startsWith('ioredis')) {
    const { Redis, Cluster } = require(name)
    if (mode === 'cluster') return direct(quiet(new Cluster(addresses)))
    return oneOf(addresses.map((address) => quiet(new Redis(address))))
  }
  const { createClient, createCluster } = require(name)
  if (mode === 'cluster') {
    const rootNodes = addresses.map(({ host, port }) => ({ url: `redis://${host}:${port}` }))
    if (name === 'redis6') {
      const client = quiet(createCluster({ rootNodes, topologyRefreshOnReconnectionAttemptStrategy: REFRESH_MS }))
      await client.connect()
      return direct(client)
    }
    // These read the map again only when a node answers MOVED, and a node that is dead answers nothing.
    return made(async () => {
      const client = quiet(createCluster({ rootNodes, defaults: { socket: { reconnectStrategy: false } } }))
      await client.connect()
      return client
    })
  }
  const clients = addresses.map((socket) => quiet(createClient({ socket })))
  await Promise.all(clients.map((client) => client.connect()))
  return oneOf(clients)
}

async function work(client, prefix) {
  const known = new Array(KEYS).fill(0)
  // Values of writes without an answer: each may have been done, and may show.
  const maybe = known.map(() => new Set())
  const successes = [], errors = [], wrong = [], texts = new Map()
  const ends = Date.now() + Number(seconds) * 1000
  for (let turn = 1; Date.now() < ends; turn++) {
    const number = turn % KEYS, key = `${prefix}:${number}`
    maybe[number].add(turn)
    let got
    try {
      await client.call('set', key, String(turn))
      known[number] = turn
      maybe[number].delete(turn)
      got = await client.call('get', key)
    } catch (error) {
      errors.push(Date.now() / 1000)
      const text = `${error.name}: ${error.message}`.slice(0, 100)
      texts.set(text, (texts.get(text) ?? 0) + 1)
      await sleep(PAUSE_MS)
      continue
    }
    successes.push(Date.now() / 1000)
    const value = got === null ? 0 : Number(got)
    if (maybe[number].has(value)) known[number] = value
    else if (value !== known[number] && wrong.length < WRONG_MAX) {
      wrong.push(`${key} is ${got}, acknowledged is ${known[number]}`)
    }
    await sleep(PAUSE_MS)
  }
  return { successes, errors, texts: [...texts].sort((a, b) => b[1] - a[1]).slice(0, 3), wrong }
}

const client = await clientOf()
const prefix = `${library} ${addresses[0].port}`
for (let i = 0; i < 20; i++) await client.call('get', `${prefix}:0`)
console.log(JSON.stringify({ connected: true }))
process.stdout.write(JSON.stringify(await work(client, prefix)) + '\n', () => process.exit(0))
