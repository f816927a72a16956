/**
 * Clients that all use the same few keys, through puts, deletions, atomic batches, reads and scans, and a judge of what they
 * saw: each key's history must be linearizable, and the keys that only batches write must always tell of the same batch.
 *
 * Called by: test/e2e/kill.test.ts. Every request is recorded with the times of its call and its return; one that the kill
 * cut off has no return. A scan tells versions; which value a version is, its writer was told or a reader saw.
 */
import { Agent } from 'node:http'
import { below, keyUrl, PACKRAT_URL, type Response, send } from './lab.ts'
import { finalStates, type RegisterOperation } from './linearizability.ts'
import { seededRandom } from './random.ts'

const KEYS = ['shared/a', 'shared/b', 'shared/c', 'shared/d']
/** Written by batches only, all with the same value. */
const BATCH_KEYS = ['shared/x', 'shared/y', 'shared/z']
const VALUE_BYTES_MAX = 5000

type Operation = { -readonly [Name in keyof RegisterOperation]: RegisterOperation[Name] }
/** What a scan saw of one key: resolved to a value when all versions are known. */
interface Sighting {
  readonly key: string
  readonly version: string | undefined
  readonly called: number
  readonly returned: number
}

export class SharedKeys {
  /** Requests answered. */
  answered = 0
  private histories = new Map<string, Operation[]>()
  private sightings: Sighting[] = []
  private readonly values = new Map<string, string>()
  private readonly states = new Map<string, readonly (string | undefined)[]>()
  private readonly random: () => number
  private cut = new AbortController()
  private serial = 0

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  /** `clients` clients, each with one request under way, until the connection breaks or `disconnect`. */
  async load(clients: number): Promise<void> {
    this.cut = new AbortController()
    await Promise.all(Array.from({ length: clients }, () => this.client()))
  }

  disconnect(): void {
    this.cut.abort()
  }

  /** With nobody writing: reads all keys, and says what cannot have happened. */
  async verify(): Promise<string[]> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const wrong: string[] = []
    for (const key of [...KEYS, ...BATCH_KEYS]) await this.read(agent, key, undefined)
    agent.destroy()
    this.resolveSightings()
    for (const [key, operations] of this.histories) {
      const states = [...finalStates(this.states.get(key) ?? [undefined], operations)]
      if (states.length === 0) wrong.push(`${key}: its history is not linearizable: ${describe(operations)}`)
      this.states.set(key, states)
    }
    const tags = new Set(BATCH_KEYS.map((key) => this.states.get(key)?.[0]))
    if (tags.size > 1) wrong.push(`a batch is torn: ${[...tags].map((tag) => tag?.slice(0, 20))}`)
    this.histories = new Map()
    this.sightings = []
    return wrong
  }

  private async client(): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const { signal } = this.cut
    try {
      while (!signal.aborted) {
        await this.request(agent, signal)
        this.answered++
      }
    } catch (error) {
      if (error instanceof UnexpectedAnswer) throw error
      // The daemon is gone; what it had not answered has no return.
    } finally {
      agent.destroy()
    }
  }

  private request(agent: Agent, signal: AbortSignal): Promise<void> {
    const key = KEYS[below(this.random, KEYS.length)]!
    const kind = below(this.random, 10)
    if (kind < 4) return this.write(agent, key, this.newValue(), signal)
    if (kind < 5) return this.write(agent, key, undefined, signal)
    if (kind < 7) return this.batch(agent, key, signal)
    if (kind < 9) return this.read(agent, below(this.random, 2) === 0 ? key : BATCH_KEYS[0]!, signal)
    return this.scan(agent, signal)
  }

  private newValue(): string {
    const tag = `value ${++this.serial} `
    return tag.repeat(1 + below(this.random, VALUE_BYTES_MAX / tag.length))
  }

  private record(key: string, operation: Operation): Operation {
    const history = this.histories.get(key)
    if (history === undefined) this.histories.set(key, [operation])
    else history.push(operation)
    return operation
  }

  private begin(key: string, write?: Operation['write']): Operation {
    const called = performance.now()
    return this.record(key, { called, returned: Number.POSITIVE_INFINITY, ...(write === undefined ? {} : { write }) })
  }

  private async write(agent: Agent, key: string, value: string | undefined, signal: AbortSignal): Promise<void> {
    const operation = this.begin(key, { value })
    const method = value === undefined ? 'DELETE' : 'PUT'
    const body = value === undefined ? {} : { body: Buffer.from(value) }
    const answer = await send(method, keyUrl(key), { agent, signal, ...body })
    expect(answer, value === undefined ? [204, 404] : [201, 204], `${method} ${key}`)
    operation.found = answer.status === 204 ? 'something' : { value: undefined }
    if (value !== undefined && answer.headers.etag !== undefined)
      this.values.set(answer.headers.etag.slice(1, -1), value)
    operation.returned = performance.now()
  }

  private async batch(agent: Agent, key: string, signal: AbortSignal): Promise<void> {
    const value = this.newValue()
    const isDelete = below(this.random, 4) === 0
    const operations = [this.begin(key, { value: isDelete ? undefined : value })]
    for (const batchKey of BATCH_KEYS) operations.push(this.begin(batchKey, { value }))
    const lines = BATCH_KEYS.map((batchKey) => JSON.stringify({ op: 'put', key: batchKey, value }))
    lines.push(JSON.stringify(isDelete ? { op: 'delete', key } : { op: 'put', key, value }))
    const body = Buffer.from(`${lines.join('\n')}\n`)
    expect(await send('POST', `${PACKRAT_URL}/kv/_batch`, { agent, signal, body }), [200], 'a batch')
    for (const operation of operations) operation.returned = performance.now()
  }

  private async read(agent: Agent, key: string, signal: AbortSignal | undefined): Promise<void> {
    const operation = this.begin(key)
    const answer = await send('GET', keyUrl(key), signal === undefined ? { agent } : { agent, signal })
    expect(answer, [200, 404], `GET ${key}`)
    const value = answer.status === 200 ? answer.body.toString() : undefined
    operation.found = { value }
    if (value !== undefined && answer.headers.etag !== undefined)
      this.values.set(answer.headers.etag.slice(1, -1), value)
    operation.returned = performance.now()
  }

  private async scan(agent: Agent, signal: AbortSignal): Promise<void> {
    const called = performance.now()
    const answer = await send('GET', `${PACKRAT_URL}/kv?prefix=shared/`, { agent, signal })
    expect(answer, [200], 'a scan')
    const returned = performance.now()
    const seen = new Map<string, string>()
    for (const line of answer.body.toString().split('\n').filter(Boolean)) {
      const { key, version } = JSON.parse(line)
      seen.set(key, String(version))
    }
    for (const key of [...KEYS, ...BATCH_KEYS]) this.sightings.push({ key, version: seen.get(key), called, returned })
  }

  /** Sightings become reads. Of a version that nobody knows the value of, only that there was one is known. */
  private resolveSightings(): void {
    for (const { key, version, called, returned } of this.sightings) {
      const value = version === undefined ? undefined : this.values.get(version)
      const found = version !== undefined && value === undefined ? 'something' : { value }
      this.record(key, { found, called, returned })
    }
  }
}

class UnexpectedAnswer extends Error {}

function expect({ status, body }: Response, allowed: readonly number[], what: string): void {
  if (!allowed.includes(status)) throw new UnexpectedAnswer(`${what}: ${status} ${body.toString().slice(0, 200)}`)
}

function describe(operations: readonly RegisterOperation[]): string {
  const short = (value: string | undefined): string => (value === undefined ? 'absent' : value.slice(0, 12).trim())
  return [...operations]
    .sort((a, b) => a.called - b.called)
    .map(({ write, found, called, returned }) => {
      const what = write === undefined ? 'read' : `write ${short(write.value)}`
      const saw = found === undefined ? '' : ` found ${found === 'something' ? found : short(found.value)}`
      return `[${called.toFixed(1)} ${returned.toFixed(1)} ${what}${saw}]`
    })
    .join(' ')
}
