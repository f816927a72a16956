/**
 * kill -9 at random moments under concurrent writes: whatever a client was told is stored (2xx) is there, byte for
 * byte, after the restart. What was under way may be there or not, but whole.
 *
 * Each client owns its keys and has one request under way, so that for every key the state told last and at most one
 * change not told yet are known. Others share their keys, with atomic batches and scans among their requests: what they saw
 * of each key must be linearizable (shared-keys.ts).
 *
 * @timeout 280
 */
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  below,
  type Daemon,
  keyUrl,
  LAB_DEVICE,
  lacks,
  PACKRAT_ADDRESS,
  randomBytes,
  scratchDirectory,
  send,
  sha256,
  sleep,
  startDaemon,
  within,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { SharedKeys } from '../support/shared-keys.ts'

/** PACKRAT_KILLS=N kills more often; give the file the time that this takes with PACKRAT_KILLS_TIMEOUT_MS. */
const ROUNDS = Number(process.env.PACKRAT_KILLS ?? 60)
const TIMEOUT_MS = Number(process.env.PACKRAT_KILLS_TIMEOUT_MS ?? 280_000)
/** Clients that use the same keys, beside those that own theirs. */
const SHARING_CLIENTS = 4
/** With barriers on a disk: a batch is on its way to it at nearly every kill, so fewer do. */
const ROUNDS_MSYNC = 8
const CLIENTS = 8
const KEYS_PER_CLIENT = 40
const VALUE_BYTES_MAX = 8000
const LOAD_MS_MIN = 10
const LOAD_MS_SPREAD = 250
const BEGIN_MS_MAX = 5000
/** Little more than the keys need, so that what is freed is soon used again. */
const REGION_SIZE = '16M'
const RECORDS = 100_000
const RESTART_MS_MAX = 1000
/** The best of these counts: other work on the machine is not the daemon's. */
const RESTARTS = 3

const test = privateNetworkSuite('kill', import.meta.url, { timeoutMs: TIMEOUT_MS, missing: lacks() })

const seed = announceSeed('kill', 4242)

/** Hash of a value; undefined: the key is absent. */
type State = string | undefined

/** What one client knows of its keys. */
class Client {
  readonly told = new Map<string, State>()
  /** The change under way when the daemon died: may have happened or not. */
  underWay: { key: string; state: State } | undefined
  acknowledged = 0
  /** Answers that contradict what was told before. */
  private readonly wrong: string[] = []
  private cut = new AbortController()
  private readonly random: () => number
  private readonly prefix: string

  constructor(number: number) {
    this.random = seededRandom(seed * 1000 + number)
    this.prefix = `client-${number}/`
  }

  /** Writes until the connection breaks or is cut. */
  async load(): Promise<void> {
    this.cut = new AbortController()
    const { signal } = this.cut
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    try {
      while (!signal.aborted) await this.change(agent, signal)
    } catch {
      // The daemon is gone; what it had not answered stays under way.
    } finally {
      agent.destroy()
    }
  }

  /** With the daemon its interface is gone, and with that all that would tell TCP so: do not wait for its time-outs. */
  disconnect(): void {
    this.cut.abort()
  }

  private async change(agent: Agent, signal: AbortSignal): Promise<void> {
    const key = `${this.prefix}${below(this.random, KEYS_PER_CLIENT)}`
    const isDelete = below(this.random, 8) === 0
    const body = randomBytes(this.random, below(this.random, 10) === 0 ? 0 : below(this.random, VALUE_BYTES_MAX))
    const state = isDelete ? undefined : sha256(body)
    this.underWay = { key, state }
    const options = isDelete ? { agent, signal } : { agent, signal, body }
    const { status } = await send(isDelete ? 'DELETE' : 'PUT', keyUrl(key), options)
    const before = this.told.get(key)
    const expected = before !== undefined ? 204 : isDelete ? 404 : 201
    if (status !== expected) this.wrong.push(`${isDelete ? 'DELETE' : 'PUT'} ${key}: ${status}, not ${expected}`)
    this.told.set(key, state)
    this.underWay = undefined
    this.acknowledged++
  }

  /** Reads everything back. What was under way becomes known. */
  async verify(): Promise<string[]> {
    const wrong = this.wrong.splice(0)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    if (this.underWay && !this.told.has(this.underWay.key)) this.told.set(this.underWay.key, undefined)
    for (const [key, told] of this.told) {
      const { status, body } = await send('GET', keyUrl(key), { agent })
      const state = status === 200 ? sha256(body) : undefined
      const possible = this.underWay?.key === key ? [told, this.underWay.state] : [told]
      if (![200, 404].includes(status) || !possible.includes(state)) {
        wrong.push(`${key}: status ${status}, ${body.length} bytes; told ${told ?? 'absent'}, is ${state ?? 'absent'}`)
      }
      this.told.set(key, state)
    }
    this.underWay = undefined
    agent.destroy()
    return wrong
  }
}

const newClients = (): Client[] => Array.from({ length: CLIENTS }, (_, number) => new Client(number))
let clients = newClients()
let sharing = new SharedKeys(seed)
let durability = 'process'
let daemon: Daemon
let region = ''

function start(): Promise<Daemon> {
  return startDaemon({ region, flags: ['--pm-size', REGION_SIZE, '--durability', durability] })
}

test.before(() => {
  region = join(scratchDirectory(), 'kill.pm')
})

test.after(async () => {
  if (daemon?.alive) await daemon.kill()
})

function startLoads(): Promise<void>[] {
  return [sharing.load(SHARING_CLIENTS), ...clients.map((client) => client.load())]
}

async function verifyAll(round: string): Promise<void> {
  const wrong = (await Promise.all([sharing, ...clients].map((client) => client.verify()))).flat()
  assert.equal(wrong, [], `seed ${seed}, ${round}`)
}

function answered(): number {
  return clients.reduce((sum, client) => sum + client.acknowledged, sharing.answered)
}

/** Kills the daemon under load, again and again, and reads everything back each time. */
async function killRounds(rounds: number): Promise<void> {
  const random = seededRandom(seed)
  daemon = await start()
  for (let round = 1; round <= rounds; round++) {
    const before = answered()
    const loads = startLoads()
    // On a busy machine clients take their time to begin; a daemon that nobody has reached yet has nothing to lose.
    const deadline = performance.now() + BEGIN_MS_MAX
    while (answered() === before && performance.now() < deadline) await sleep(1)
    await sleep(LOAD_MS_MIN + below(random, LOAD_MS_SPREAD))
    assert.ok(daemon.alive, `daemon died by itself in round ${round}`)
    await daemon.kill()
    for (const client of [sharing, ...clients]) client.disconnect()
    await within(10_000, Promise.all(loads), 'clients did not end after the kill')
    daemon = await start()
    await verifyAll(`round ${round}`)
  }
  const acknowledged = clients.reduce((sum, client) => sum + client.acknowledged, 0)
  console.log(`${rounds} kills, ${acknowledged} acknowledged writes, ${sharing.answered} requests on shared keys`)
  assert.ok(answered() > rounds * CLIENTS, `too few writes to prove anything: ${acknowledged}`)
}

test(`after each of ${ROUNDS} kills every acknowledged write is there, byte for byte`, () => killRounds(ROUNDS))

test('SIGTERM under load ends with status 0 and loses nothing', async () => {
  const loads = startLoads()
  await sleep(200)
  assert.equal(await daemon.stop(), { status: 0, signal: null })
  for (const client of [sharing, ...clients]) client.disconnect()
  await within(10_000, Promise.all(loads), 'clients did not end after the stop')
  daemon = await start()
  await verifyAll('after SIGTERM')
  assert.equal(await daemon.stop('SIGINT'), { status: 0, signal: null })
})

test('the same in the msync class, also for a stop under load', async () => {
  if (LAB_DEVICE === 'xdp') {
    console.log('SKIP: AF_XDP cannot pin the page cache of a disk, so it has no msync class')
    return
  }
  durability = 'msync'
  clients = newClients()
  sharing = new SharedKeys(seed)
  region = join(scratchDirectory(tmpdir()), 'msync.pm')
  try {
    await killRounds(ROUNDS_MSYNC)
  } catch (error) {
    if (!String(error).includes('durability class msync is not to be had')) throw error
    console.log('SKIP: the temporary directory is in memory, msync persists nothing there')
    return
  }
  const loads = startLoads()
  await sleep(200)
  assert.equal(await daemon.stop(), { status: 0, signal: null })
  for (const client of [sharing, ...clients]) client.disconnect()
  await within(10_000, Promise.all(loads), 'clients did not end after the stop')
  daemon = await start()
  await verifyAll('after SIGTERM')
  assert.equal(await daemon.stop(), { status: 0, signal: null })
})

/** PUTs `count` records over one connection, `depth` of them under way. */
function pipelinedPuts(first: number, count: number, depth: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(80, PACKRAT_ADDRESS)
    let sent = 0
    let answered = 0
    let tail = ''
    const write = () => {
      let bytes = ''
      for (; sent < count && sent - answered < depth; sent++) {
        const value = recordValue(first + sent)
        bytes += `PUT /kv/${recordKey(first + sent)} HTTP/1.1\r\nHost: x\r\nContent-Length: ${value.length}\r\n\r\n${value}`
      }
      if (bytes) socket.write(bytes)
    }
    socket.on('data', (chunk) => {
      const text = tail + chunk.toString('latin1')
      const heads = text.split('\r\n\r\n')
      tail = heads.pop()!
      for (const head of heads) {
        if (!head.startsWith('HTTP/1.1 201')) socket.destroy(new Error(`PUT answered: ${head}`))
      }
      answered += heads.length
      if (answered === count) socket.end()
      else write()
    })
    socket.on('error', reject)
    socket.on('close', () =>
      answered === count ? resolve() : reject(new Error(`${answered} of ${count} PUTs answered`)),
    )
    write()
  })
}

const recordKey = (index: number) => `record-${String(index).padStart(6, '0')}`
const recordValue = (index: number) => `value of record ${index} `.repeat(4)

test(`${RECORDS} records make a restart longer by less than ${RESTART_MS_MAX} ms`, async () => {
  region = join(scratchDirectory(), 'records.pm')
  daemon = await startDaemon({ region, flags: ['--pm-size', '512M', '--durability', 'process'] })
  await daemon.kill()
  daemon = await startDaemon({ region })
  const emptyMs = Math.round(daemon.readyMs) // what a busy machine takes to begin with
  const share = RECORDS / 4
  const loads = [0, 1, 2, 3].map((part) => pipelinedPuts(part * share, share, 64))
  await within(60_000, Promise.all(loads), `${RECORDS} PUTs were not answered`)
  assert.is((await daemon.stats()).records, RECORDS)
  const readyMs: number[] = []
  for (let restart = 0; restart < RESTARTS; restart++) {
    await daemon.kill()
    daemon = await startDaemon({ region })
    readyMs.push(Math.round(daemon.readyMs))
    assert.is((await daemon.stats()).records, RECORDS)
  }
  console.log(`ready in ${readyMs.join(', ')} ms with ${RECORDS} records, in ${emptyMs} ms without`)
  assert.ok(Math.min(...readyMs) < emptyMs + RESTART_MS_MAX, `ready after ${readyMs} ms, without records ${emptyMs} ms`)
  const random = seededRandom(seed)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  for (let sample = 0; sample < 500; sample++) {
    const index = below(random, RECORDS)
    const { status, body } = await send('GET', keyUrl(recordKey(index)), { agent })
    assert.is(status, 200)
    assert.is(body.toString(), recordValue(index))
  }
  agent.destroy()
  assert.equal(await daemon.stop(), { status: 0, signal: null })
})

test.run()
