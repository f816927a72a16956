/**
 * Writes the corpus of test/fuzz/stack.test.ts anew: frames of two hosts in virtual time that do a bit of everything, and
 * packets that a host does not send by itself. Run it after a change of the wire format, and read the difference:
 *
 *   node dist/test/fuzz/record-corpus.js
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAddress } from '../../stack/address.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import type { DatagramApplication } from '../../stack/udp.ts'
import { findTransport } from '../support/checksum-repair.ts'
import { formatCorpus, type NamedFrame } from '../support/corpus.ts'
import { cut, datagram, echoRequest, every, fragmentFrame } from '../support/raw-fragments.ts'
import { ALL_NODES, HOST_GROUP, NA, NS, PEER, PEER_MAC, RawIpv6 } from '../support/raw-ipv6.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { ADDRESS6_A, ADDRESS6_B, VirtualNetwork } from '../support/virtual-link.ts'

const FOLDER = join(import.meta.dirname, '../../../test/fuzz/corpus')
const SECOND_US = 1_000_000
const UDP_PORT = 7000
const MAC_B = Uint8Array.of(2, 0, 0, 0, 0, 0x0b)
const FLAG_LETTERS = 'FSRPAUEW'
const TCP = 6
const NAMES: Readonly<Record<number, string>> = { 1: 'ICMP', [TCP]: 'TCP', 17: 'UDP', 44: 'fragment', 58: 'ICMPv6' }

/** What a frame is, in a few words. */
function nameOf(frame: Uint8Array, what: string): string {
  if (frame[12] === 8 && frame[13] === 6) return `ARP ${frame[21] === 1 ? 'request' : 'reply'}`
  const { protocol, at, end } = findTransport(frame)
  const name = `${what}: IPv${frame[13] === 0 ? 4 : 6} ${NAMES[protocol] ?? protocol}`
  if (protocol !== TCP) return `${name} ${end - at} bytes`
  const flags = [...FLAG_LETTERS].filter((_, bit) => frame[at + 13]! & (1 << bit)).join('')
  const header = (frame[at + 12]! >>> 4) << 2
  return `${name} ${flags}, options ${header - 20}, payload ${end - at - header}`
}

function record(what: string, run: (network: VirtualNetwork) => void): NamedFrame[] {
  const frames: NamedFrame[] = []
  const network = new VirtualNetwork({
    seed: 1,
    ipv6: true,
    tcp: { ecn: 1, timeWaitMs: 1000 },
    filter: (frame) => {
      frames.push({ name: nameOf(frame, what), frame: frame.slice() })
      return true
    },
  })
  run(network)
  network.hostA.close(network.nowUs)
  network.hostB.close(network.nowUs)
  return frames
}

/** A connection from A to B that has carried a little both ways. */
function connect(network: VirtualNetwork, address: string): { client: Connection; server: StreamApplication } {
  const server = new StreamApplication(network.poolB)
  network.hostB.tcp.listen(80, server, { receiveLimitBytes: 20_000 })
  const client = network.hostA.tcp.connect(address, 80, new StreamApplication(network.poolA), { noDelay: true })
  network.runFor(SECOND_US)
  server.connection!.send(chainOf(network.poolB, new Uint8Array(60)))
  network.runFor(SECOND_US)
  return { client, server }
}

/** Loses every third data segment: SACK blocks, retransmissions, duplicate SACKs. */
function loseSome(network: VirtualNetwork, client: Connection): void {
  const { filter } = network
  let count = 0
  network.filter = (frame, fromA) => filter!(frame, fromA) && !(fromA && frame.length > 100 && ++count % 3 === 0)
  client.send(chainOf(network.poolA, new Uint8Array(1200), 120))
  for (let piece = 0; piece < 8; piece++) {
    client.send(chainOf(network.poolA, new Uint8Array(100)))
    network.runFor(1000)
  }
  network.runFor(SECOND_US)
  network.filter = filter
}

function recordTcp(address: string): NamedFrame[] {
  return [
    ...record('transfer and close', (network) => {
      const { client } = connect(network, address)
      loseSome(network, client)
      client.shutdown()
      network.runFor(2 * SECOND_US)
    }),
    ...record('shut window', (network) => {
      const { client, server } = connect(network, address)
      server.reading = false
      client.send(chainOf(network.poolA, new Uint8Array(21_000)))
      network.runFor(3 * SECOND_US)
    }),
    ...record('abort', (network) => {
      const { client } = connect(network, address)
      client.setKeepAlive(true, 1000)
      network.runFor(3 * SECOND_US)
      client.abort()
      network.runFor(SECOND_US)
    }),
    ...record('refused', (network) => {
      network.hostA.tcp.connect(address, 81, new StreamApplication(network.poolA))
      network.runFor(SECOND_US)
    }),
  ]
}

function recordUdp(address: string): NamedFrame[] {
  const idle: DatagramApplication = { onDatagrams() {}, onUnreachable() {}, onClose() {} }
  return record('datagrams', (network) => {
    network.hostB.udp.bind(UDP_PORT, idle)
    const port = network.hostA.udp.bind(5000, idle)
    const lengths: [number, number][] = [
      [UDP_PORT, 0],
      [UDP_PORT, 50],
      [UDP_PORT + 1, 50],
    ]
    if (!address.includes(':')) lengths.push([UDP_PORT, 3000])
    for (const [to, length] of lengths) {
      network.hostA.udp.send(
        port,
        parseAddress(address),
        to,
        chainOf(network.poolA, new Uint8Array(Math.max(length, 1)), 1448),
      )
      network.runFor(SECOND_US)
    }
  })
}

/** Packets written by hand, to host B. */
function handmade(): NamedFrame[] {
  const frames: [string, Uint8Array][] = []
  const echo = echoRequest(new Uint8Array(64))
  const question = datagram(new Uint8Array(200))
  for (const [what, payload, protocol] of [
    ['echo request', echo, 1],
    ['datagram', question, 17],
  ] as const) {
    frames.push([what, fragmentFrame(MAC_B, { offset: 0, more: false, bytes: payload, protocol, identification: 7 })])
    for (const fragment of cut(payload, protocol, 8, every(24, payload.length)))
      frames.push([`${what}, fragment at ${fragment.offset}`, fragmentFrame(MAC_B, fragment)])
  }
  const lab = new RawIpv6()
  const hopByHop = [58, 0, 1, 4, 0, 0, 0, 0]
  const fragment = (offset: number, more: number): number[] => [17, 0, offset >> 8, (offset & 0xf8) | more, 0, 0, 0, 9]
  frames.push(
    ['IPv6 echo request', lab.echo()],
    ['IPv6 echo request behind options for all hops', lab.echo({ next: 0 }, hopByHop)],
    ['IPv6 echo request behind options for the receiver', lab.echo({ next: 60 }, hopByHop)],
    ['IPv6 echo request behind a routing header', lab.echo({ next: 43 }, [58, 0, 0, 0, 0, 0, 0, 0])],
    ['IPv6 datagram', lab.udp(UDP_PORT, [1, 2, 3])],
    ['IPv6 fragment, first', lab.packet([...fragment(0, 1), 0x10, 0, 0x1b, 0x58, 0, 24, 0, 1], { next: 44 })],
    ['IPv6 fragment, last', lab.packet([...fragment(8, 0), ...new Uint8Array(16)], { next: 44 })],
    ['IPv6 neighbour solicitation', lab.ndp(NS, ADDRESS6_B, { to: HOST_GROUP, option: PEER_MAC })],
    ['IPv6 neighbour advertisement', lab.ndp(NA, PEER, { flags: 0x60, option: PEER_MAC })],
    ['IPv6 advertisement to all', lab.ndp(NA, ADDRESS6_A, { to: ALL_NODES, flags: 0x20, option: PEER_MAC })],
    [
      'IPv6 packet too big',
      lab.icmp([2, 0, 0, 0, 0, 0, 5, 0, ...lab.udp(UDP_PORT, [1], { from: ADDRESS6_B, to: PEER }).subarray(14)]),
    ],
    ['IPv6 next header unknown', lab.packet([1, 2, 3, 4], { next: 200 })],
  )
  return frames.map(([name, frame]) => {
    // To one station: of host B. To a group: as it is.
    if ((frame[0]! & 1) === 0) frame.set(MAC_B, 0)
    return { name, frame }
  })
}

/** The first of each name: what a frame is, is what counts. */
function firstOfEach(frames: NamedFrame[]): NamedFrame[] {
  const seen = new Set<string>()
  return frames.filter(({ name }) => !seen.has(name) && seen.add(name))
}

function write(file: string, title: string, frames: NamedFrame[]): void {
  const kept = firstOfEach(frames)
  writeFileSync(join(FOLDER, file), formatCorpus(title, kept))
  console.log(`${file}: ${kept.length} frames`)
}

write('tcp-ipv4.txt', 'TCP over IPv4 between 10.0.0.1 and 10.0.0.2, as recorded', recordTcp('10.0.0.2'))
write('tcp-ipv6.txt', 'TCP over IPv6 between fd00::1 and fd00::2, as recorded', recordTcp(ADDRESS6_B))
write('datagrams.txt', 'UDP, its fragments, and errors about it, as recorded', [
  ...recordUdp('10.0.0.2'),
  ...recordUdp(ADDRESS6_B),
])
write('handmade.txt', 'Packets that a host sends only in answer, or never', handmade())
