/**
 * From one connection of a scenario to what each side does: bytes to send, steps, and what it expects to receive.
 *
 * Called by: simulation.ts, linux-run.ts. Calls: receiver.ts.
 */
import { SeededRandom } from '../../stack/random.ts'
import type { HttpLoad, Scenario, SendStep, Side, Traffic } from './document.ts'
import { ExactReceiver, type Receiver, ResponseReceiver } from './receiver.ts'

/** `write` and `await` count from the connection's start. */
export type Step =
  | { readonly write: number }
  | { readonly pauseUs: number }
  | { readonly await: number }
  | { readonly end: 'shutdown' | 'reset' | 'after-peer' }

export interface Plan {
  readonly content: Uint8Array
  readonly steps: readonly Step[]
  readonly receiver: Receiver
}

const KEY = (index: number): string => `scenario-${index}`

/** Of each side; undefined where the key-value service plays. */
export interface Plans {
  readonly host: Plan | undefined
  readonly peer: Plan
}

export function planConnection(scenario: Scenario, index: number): Plans {
  const traffic = scenario.traffic[index]!
  const seed = scenario.seed * 1000 + index
  if (traffic.http !== undefined) return { host: undefined, peer: planHttp(traffic.http) }
  if (traffic.exchange !== undefined) return planExchange(traffic, seed)
  const host = contentOf(bytesOf(traffic.send), 2 * seed)
  const peer = contentOf(bytesOf(traffic.receive), 2 * seed + 1)
  return {
    host: { content: host, steps: sendSteps(traffic, 'host'), receiver: new ExactReceiver(peer) },
    peer: { content: peer, steps: sendSteps(traffic, 'peer'), receiver: new ExactReceiver(host) },
  }
}

/** The value of each key, for PUT and GET. */
export function httpEntry(load: HttpLoad, index: number): { key: string; value: Uint8Array } {
  return { key: KEY(index), value: contentOf(load.valueBytes, index + 1) }
}

function bytesOf(steps: readonly SendStep[]): number {
  return steps.reduce((sum, step) => sum + ('bytes' in step ? step.bytes : 0), 0)
}

function contentOf(length: number, seed: number): Uint8Array {
  const random = new SeededRandom(seed)
  const words = new Int32Array(Math.ceil(length / 4))
  for (let at = 0; at < words.length; at++) words[at] = random.next()
  return new Uint8Array(words.buffer, 0, length)
}

/** A side that has something to send closes when it has sent it; the other one when the peer has closed. */
function sendSteps(traffic: Traffic, side: Side): Step[] {
  const steps: Step[] = []
  let sent = 0
  for (const step of side === 'host' ? traffic.send : traffic.receive) {
    if ('pauseUs' in step) {
      steps.push(step)
    } else {
      steps.push(...writes(traffic, sent, sent + step.bytes))
      sent += step.bytes
    }
  }
  if (traffic.reset === side) steps.push({ end: 'reset' })
  else steps.push({ end: sent > 0 ? 'shutdown' : 'after-peer' })
  return steps
}

function writes({ writeBytes, everyUs }: Traffic, from: number, end: number): Step[] {
  if (everyUs === 0 && writeBytes >= end - from) return [{ write: end }]
  const steps: Step[] = []
  for (let at = from; at < end; at += writeBytes) {
    steps.push({ write: Math.min(at + writeBytes, end) })
    if (everyUs > 0) steps.push({ pauseUs: everyUs })
  }
  return steps
}

function planExchange(traffic: Traffic, seed: number): Plans {
  const { count, requestBytes, responseBytes, pauseUs } = traffic.exchange!
  const requests = contentOf(count * requestBytes, 2 * seed)
  const responses = contentOf(count * responseBytes, 2 * seed + 1)
  const asking: Step[] = []
  const answering: Step[] = []
  for (let number = 1; number <= count; number++) {
    asking.push({ write: number * requestBytes }, { await: number * responseBytes })
    if (pauseUs > 0 && number < count) asking.push({ pauseUs })
    answering.push({ await: number * requestBytes }, { write: number * responseBytes })
  }
  asking.push({ end: traffic.reset === 'peer' ? 'reset' : 'shutdown' })
  answering.push({ end: traffic.reset === 'host' ? 'reset' : 'after-peer' })
  return {
    host: { content: responses, steps: answering, receiver: new ExactReceiver(requests) },
    peer: { content: requests, steps: asking, receiver: new ExactReceiver(responses) },
  }
}

/** One request after the other. */
function planHttp(load: HttpLoad): Plan {
  const parts: Uint8Array[] = []
  const steps: Step[] = []
  let written = 0
  for (let index = 0; index < load.count; index++) {
    const { key, value } = httpEntry(load, index)
    const length = load.method === 'PUT' ? `Content-Length: ${value.length}\r\n` : ''
    parts.push(Buffer.from(`${load.method} /kv/${key} HTTP/1.1\r\nHost: scenario\r\n${length}\r\n`))
    if (load.method === 'PUT') parts.push(value)
    for (const part of parts.slice(load.method === 'PUT' ? -2 : -1)) written += part.length
    steps.push({ write: written }, { await: index + 1 })
  }
  steps.push({ end: 'shutdown' })
  const none = new Uint8Array(0)
  const receiver =
    load.method === 'PUT'
      ? new ResponseReceiver(load.count, 201, () => none)
      : new ResponseReceiver(load.count, 200, (index) => httpEntry(load, index).value)
  return { content: Buffer.concat(parts), steps, receiver }
}
