/**
 * From the text of a scenario file to a Scenario. The grammar, for users: docs/scenarios.md. Everything that is wrong
 * is said with its place, and with what is allowed there.
 *
 * Called by: scenario.ts (the command). Calls: json-reader.ts, selector.ts, parse-events.ts, the impairments' parser.
 */
import { ImpairmentError, parseImpairment } from '../../drivers/impairment-spec.ts'
import type { TcpOptions } from '../../stack/host-options.ts'
import type { ConnectionOptions } from '../../stack/tcp/application.ts'
import type { HostSettings, HttpLoad, Scenario, SendStep, Side, Traffic } from './document.ts'
import { JsonReader, parseTimeUs, ScenarioError } from './json-reader.ts'
import { parseEvents } from './parse-events.ts'
import { parseExpectations } from './parse-expectations.ts'

const SEED_DEFAULT = 1
const LINK_DEFAULT = { delay: '10ms' }
const LIMIT_US_DEFAULT = 300e6
const MTU_DEFAULT = 1500
const MTU_MIN = 576 // RFC 791: what every host takes
const MTU_MAX = 2000 // a frame fits a buffer
const BUFFERS_DEFAULT = 8192
const BUFFERS_MIN = 256
const BUFFERS_MAX = 1 << 16
const TRANSFER_BYTES_MAX = 64 << 20
const COUNT_MAX = 100_000
const WRITE_BYTES_DEFAULT = 64 << 10
const TRAFFIC_MAX = 100

const IP_VERSIONS = ['IPv4', 'IPv6'] as const

const SCENARIO_KEYS = ['name', 'about', 'seed', 'ip', 'link', 'host', 'peer', 'traffic', 'events', 'expect', 'limit']
const TRAFFIC_KEYS = ['send', 'receive', 'exchange', 'put', 'get', 'opens', 'at', 'write', 'every', 'reset']
const SIDES: readonly Side[] = ['host', 'peer']

/* Switches of TcpOptions, and the options of a connection that a scenario may set. */
const SWITCHES = [
  'timestamps',
  'windowScaling',
  'sack',
  'hystart',
  'rack',
  'tailProbes',
  'frto',
  'slowStartAfterIdle',
] as const
const SIZES = ['receiveLimitBytes', 'sendLimitBytes', 'mss'] as const
const TIMES = ['keepAliveIdleMs', 'keepAliveIntervalMs', 'userTimeoutMs'] as const
const HOST_KEYS = [
  ...['congestion', ...SWITCHES, 'ecn', 'mtuProbing', 'initialSequence', 'mtu', 'buffers'],
  ...[...SIZES, ...TIMES, 'keepAlive', 'keepAliveProbes', 'noDelay'],
]

/** Throws ScenarioError. */
export function parseScenario(text: string, file: string): Scenario {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new ScenarioError(`no valid JSON: ${(error as Error).message}`)
  }
  const root = new JsonReader(value, '').object(SCENARIO_KEYS)
  const seed = optional(root.key('seed'), SEED_DEFAULT, (seed) => seed.integer(1, 0x3fffffff))
  const link = parseLink(root.key('link'), seed)
  const traffic = root.key('traffic').items('connections')
  if (traffic.length < 1 || traffic.length > TRAFFIC_MAX)
    throw root.key('traffic').refuse(`a list of 1 to ${TRAFFIC_MAX} connections`)
  const peer = root.key('peer')
  const isLinux = peer.value === 'linux'
  if (typeof peer.value === 'string') peer.word(['packrat', 'linux'])
  return {
    file,
    name: root.key('name').text('a short name'),
    about: optional(root.key('about'), '', (about) => about.text('a sentence that says what the scenario shows')),
    seed,
    ip: optional(root.key('ip'), 4, (ip) => (ip.word(IP_VERSIONS) === 'IPv6' ? 6 : 4)),
    link,
    roundTripUs: link.rx.delayUs + link.tx.delayUs,
    host: parseHost(root.key('host')),
    peer: parseHost(peer.isObject ? peer : new JsonReader(undefined, 'peer')),
    peerKind: isLinux ? 'linux' : 'packrat',
    traffic: traffic.map(parseTraffic),
    events: optional(root.key('events'), [], (events) => parseEvents(events, traffic.length)),
    expectations: optional(root.key('expect'), [], parseExpectations),
    limitUs: optional(root.key('limit'), LIMIT_US_DEFAULT, (limit) => limit.timeUs()),
  }
}

function optional<T>(reader: JsonReader, absent: T, read: (reader: JsonReader) => T): T {
  return reader.isAbsent ? absent : read(reader)
}

/** The specification of docs/impairment.md as an object; its seed is the scenario's. */
function parseLink(reader: JsonReader, seed: number): Scenario['link'] {
  if (!reader.isAbsent && !reader.isObject) throw reader.refuse('an object such as {"delay": "10ms", "loss": "1%"}')
  if (reader.isObject && !reader.key('seed').isAbsent)
    throw new ScenarioError('link.seed: the seed of the scenario is used; give seed beside link')
  try {
    return parseImpairment(JSON.stringify({ ...((reader.value as object | undefined) ?? LINK_DEFAULT), seed }))
  } catch (error) {
    if (!(error instanceof ImpairmentError)) throw error
    throw new ScenarioError(`link: ${error.message}`)
  }
}

function parseHost(reader: JsonReader): HostSettings {
  const fields = reader.isAbsent ? new JsonReader({}, reader.path) : reader.object(HOST_KEYS)
  const tcp: TcpOptions = {}
  const connection: ConnectionOptions = {}
  const congestion = fields.key('congestion')
  if (!congestion.isAbsent) tcp.congestion = congestion.word(['cubic', 'reno'])
  const ecn = fields.key('ecn')
  if (!ecn.isAbsent) tcp.ecn = ecn.integer(0, 2) as 0 | 1 | 2
  const probing = fields.key('mtuProbing')
  if (!probing.isAbsent) tcp.mtuProbing = probing.word(['off', 'on-black-hole', 'always'])
  for (const name of SWITCHES) {
    const field = fields.key(name)
    if (!field.isAbsent) tcp[name] = field.flag()
  }
  const sequence = fields.key('initialSequence')
  if (!sequence.isAbsent) {
    const initial = sequence.integer(0, 0xffffffff) | 0
    tcp.initialSequence = { sequence: initial, timestampOffset: 0, generate: () => {} }
  }
  for (const name of SIZES) {
    const field = fields.key(name)
    if (!field.isAbsent) connection[name] = field.sizeBytes(1, TRANSFER_BYTES_MAX)
  }
  for (const name of TIMES) {
    const field = fields.key(name)
    if (!field.isAbsent) connection[name] = field.integer(1, 0x7fffffff)
  }
  const probes = fields.key('keepAliveProbes')
  if (!probes.isAbsent) connection.keepAliveProbes = probes.integer(1, 100)
  for (const name of ['keepAlive', 'noDelay'] as const) {
    const field = fields.key(name)
    if (!field.isAbsent) connection[name] = field.flag()
  }
  return {
    tcp,
    connection,
    mtu: optional(fields.key('mtu'), MTU_DEFAULT, (mtu) => mtu.integer(MTU_MIN, MTU_MAX)),
    buffers: optional(fields.key('buffers'), BUFFERS_DEFAULT, (count) => count.integer(BUFFERS_MIN, BUFFERS_MAX)),
  }
}

function parseTraffic(reader: JsonReader): Traffic {
  reader.object(TRAFFIC_KEYS)
  const given = (name: string): boolean => !reader.key(name).isAbsent
  const kinds = ['exchange', 'put', 'get'].filter(given)
  const sends = given('send') || given('receive')
  if (kinds.length + (sends ? 1 : 0) !== 1)
    throw new ScenarioError(
      `${reader.path}: one of send/receive, exchange, put, get is needed; give each a connection of its own`,
    )
  const isHttp = given('put') || given('get')
  for (const name of ['write', 'every'])
    if (given(name) && !sends) throw new ScenarioError(`${reader.path}.${name}: it belongs to send and receive`)
  if (given('reset') && isHttp)
    throw new ScenarioError(`${reader.path}.reset: put and get close their connection; reset belongs to the others`)
  return {
    opens: optional(reader.key('opens'), sends ? 'host' : 'peer', (opens) => opens.word(SIDES)),
    atUs: optional(reader.key('at'), 0, (at) => at.timeUs()),
    send: optional(reader.key('send'), [], parseSteps),
    receive: optional(reader.key('receive'), [], parseSteps),
    exchange: given('exchange') ? parseExchange(reader.key('exchange')) : undefined,
    http: isHttp ? parseHttp(reader) : undefined,
    writeBytes: optional(reader.key('write'), WRITE_BYTES_DEFAULT, (write) => write.sizeBytes(1, TRANSFER_BYTES_MAX)),
    everyUs: optional(reader.key('every'), 0, (every) => every.timeUs()),
    reset: optional<Side | undefined>(reader.key('reset'), undefined, (reset) => reset.word(SIDES)),
  }
}

/** `"1M"`, or `["100K", "pause 3s", "100K"]`. */
function parseSteps(reader: JsonReader): SendStep[] {
  if (!reader.isArray) return [{ bytes: reader.sizeBytes(1, TRANSFER_BYTES_MAX) }]
  return reader.items('sizes and pauses').map((step) => {
    const [, time] = (typeof step.value === 'string' && /^pause (.+)$/.exec(step.value)) || []
    if (time === undefined) return { bytes: step.sizeBytes(1, TRANSFER_BYTES_MAX) }
    const pauseUs = parseTimeUs(time)
    if (pauseUs === undefined) throw step.refuse('a size such as "100K", or a pause such as "pause 3s"')
    return { pauseUs }
  })
}

function parseExchange(reader: JsonReader): Traffic['exchange'] {
  reader.object(['count', 'request', 'response', 'pause'])
  return {
    count: reader.key('count').integer(1, COUNT_MAX),
    requestBytes: reader.key('request').sizeBytes(1, TRANSFER_BYTES_MAX),
    responseBytes: reader.key('response').sizeBytes(1, TRANSFER_BYTES_MAX),
    pauseUs: optional(reader.key('pause'), 0, (pause) => pause.timeUs()),
  }
}

function parseHttp(traffic: JsonReader): HttpLoad {
  const isPut = !traffic.key('put').isAbsent
  const reader = traffic.key(isPut ? 'put' : 'get').object(['count', 'size'])
  return {
    method: isPut ? 'PUT' : 'GET',
    count: reader.key('count').integer(1, COUNT_MAX),
    valueBytes: reader.key('size').sizeBytes(1, TRANSFER_BYTES_MAX),
  }
}
