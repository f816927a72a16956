/**
 * A station whose every IPv6 packet the test writes by hand, and that sees every packet of the host under test, in
 * virtual time. It answers nothing by itself.
 *
 *   const lab = new RawIpv6()
 *   lab.send(lab.echo({ to: HOST }))     one frame, one burst
 *   lab.take()                           ['129/0 fd00::2 > fd00::1 …'], what the host has sent since
 */
import { type Address, formatAddress, parseAddress } from '../../stack/address.ts'
import { Host } from '../../stack/host.ts'
import type { HostOptions } from '../../stack/host-options.ts'
import { SeededRandom } from '../../stack/random.ts'
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import type { Pool } from '../../storage/pool.ts'
import { type FrameSink, RawDevice } from './raw-peer.ts'
import { createPool } from './virtual-link.ts'

export const HOST = 'fd00::2'
/** From the MAC 02:00:00:00:00:02, by RFC 4291 appendix A. */
export const HOST_LINK_LOCAL = 'fe80::ff:fe00:2'
export const PEER = 'fd00::1'
export const ALL_NODES = 'ff02::1'
/** The solicited-node group of both addresses of the host. */
export const HOST_GROUP = 'ff02::1:ff00:2'
export const PEER_MAC = [2, 0, 0, 0, 0, 1]
export const NS = 135
export const NA = 136

const HEADERS = 54

export interface RawPacket {
  from?: string
  to?: string
  hopLimit?: number
  next?: number
  /** Ethernet receiver; default by the address. */
  mac?: number[]
}

export class RawIpv6 implements FrameSink {
  readonly pool: Pool
  readonly device: RawDevice
  readonly host: Host
  readonly frames: Uint8Array[] = []
  readonly notices: string[] = []
  nowUs = 10_000_000

  /**
   * The host's addresses are used without asking, unless `options` says otherwise.
   * @param ipv6 false: the host speaks IPv4 only
   */
  constructor(options: Partial<HostOptions> = {}, ipv6 = true) {
    this.pool = createPool(1024)
    this.device = new RawDevice(this, this.pool)
    this.host = new Host(
      {
        device: this.device,
        pool: this.pool,
        address: '10.0.0.2/24',
        ...(ipv6 && { address6: `${HOST}/64` }),
        dadTransmits: 0,
        onAddress: (address, usable) => this.notices.push(`${address} ${usable ? 'usable' : 'duplicate'}`),
        random: new SeededRandom(1),
        secret: new Uint8Array(16),
        wallClock: { low: 0, high: 0, read() {} },
        tcp: { connectionsMax: 64, timeWaitsMax: 16, reserveBuffers: 0 },
        ...options,
      },
      this.nowUs,
    )
    this.host.poll(this.nowUs)
    this.frames.length = 0
  }

  see(frame: Uint8Array): void {
    if (frame[12] === 0x86 && frame[13] === 0xdd) this.frames.push(frame)
  }

  send(...frames: Uint8Array[]): void {
    this.device.queue.push(...frames)
    this.host.poll(this.nowUs)
  }

  /** Lets time pass, timers included. */
  advanceMs(ms: number): void {
    const end = this.nowUs + ms * 1000
    for (let next = this.host.nextDeadlineUs(); next <= end; next = this.host.nextDeadlineUs()) {
      this.nowUs = Math.max(this.nowUs, next)
      this.host.poll(this.nowUs)
    }
    this.nowUs = end
    this.host.poll(end)
  }

  /** What the host has sent since the last call: type/code of ICMPv6 or the protocol, addresses, Ethernet receiver. */
  take(): string[] {
    return this.frames.splice(0).map((frame) => {
      const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
      const word = (at: number): number => view.getInt32(at)
      const address = (at: number): string => formatAddress(word(at), word(at + 4), word(at + 8), word(at + 12))
      const next = frame[20]!
      const kind = next === 58 ? `${frame[HEADERS]}/${frame[HEADERS + 1]}` : `${next}`
      const about = next === 58 && (frame[HEADERS] === NS || frame[HEADERS] === NA) ? ` ${address(HEADERS + 8)}` : ''
      checkSum(view, frame, next)
      return `${kind}${about} ${address(22)} > ${address(38)} ${Buffer.from(frame.subarray(0, 6)).toString('hex')}`
    })
  }

  /** An IPv6 packet with these bytes behind its header. */
  packet(payload: ArrayLike<number>, packet: RawPacket = {}): Uint8Array {
    const { from = PEER, to = HOST, hopLimit = 64, next = 59 } = packet
    const frame = new Uint8Array(HEADERS + payload.length)
    const view = new DataView(frame.buffer)
    const group = to.startsWith('ff')
    writeAddress(view, 22, parseAddress(from))
    writeAddress(view, 38, parseAddress(to))
    frame.set(packet.mac ?? (group ? [0x33, 0x33, ...frame.subarray(50, 54)] : this.device.mac), 0)
    frame.set(PEER_MAC, 6)
    view.setUint16(12, 0x86dd)
    view.setUint32(14, 0x60000000)
    view.setUint16(18, payload.length)
    frame[20] = next
    frame[21] = hopLimit
    frame.set(payload, HEADERS)
    return frame
  }

  /** A message with its checksum put right. @param headers extension headers in front of it, the last naming 58 */
  icmp(message: number[], packet: RawPacket = {}, headers: number[] = []): Uint8Array {
    const frame = this.packet([...headers, ...message], { next: 58, ...packet })
    setSum(frame, HEADERS + headers.length, 58, 2)
    return frame
  }

  echo(packet: RawPacket = {}, headers: number[] = []): Uint8Array {
    return this.icmp([128, 0, 0, 0, 0, 7, 0, 1, 0xca, 0xfe, 0xba], packet, headers)
  }

  /** A solicitation (135) or advertisement (136). @param mac in the option that belongs to it; none if undefined */
  ndp(
    type: number,
    target: string,
    packet: RawPacket & { flags?: number; option?: number[]; code?: number } = {},
  ): Uint8Array {
    const view = new DataView(new ArrayBuffer(24))
    view.setUint8(0, type)
    view.setUint8(1, packet.code ?? 0)
    view.setUint8(4, packet.flags ?? 0)
    writeAddress(view, 8, parseAddress(target))
    const option = packet.option === undefined ? [] : [type === NS ? 1 : 2, 1, ...packet.option]
    return this.icmp([...new Uint8Array(view.buffer), ...option], { hopLimit: 255, ...packet })
  }

  /** Makes the host know the peer, as a question from him does. */
  introduce(): void {
    this.send(this.ndp(NS, HOST, { to: HOST_GROUP, option: PEER_MAC }))
    this.frames.length = 0
  }

  udp(destination: number, bytes: number[], packet: RawPacket = {}): Uint8Array {
    const length = 8 + bytes.length
    const frame = this.packet(
      [0x10, 0, destination >> 8, destination & 255, length >> 8, length & 255, 0, 0, ...bytes],
      {
        next: 17,
        ...packet,
      },
    )
    setSum(frame, HEADERS, 17, 6)
    return frame
  }
}

export function writeAddress(view: DataView, at: number, address: Address): void {
  view.setInt32(at, address.word0)
  view.setInt32(at + 4, address.word1)
  view.setInt32(at + 8, address.word2)
  view.setInt32(at + 12, address.word3)
}

/** Writes the checksum of what stands from `at` on to the frame's end. */
export function setSum(frame: Uint8Array, at: number, protocol: number, offset: number): void {
  const view = new DataView(frame.buffer)
  view.setUint16(at + offset, 0)
  const length = frame.length - at
  const sum = ~foldSum(sumBytes(view, 22, 32) + sumBytes(view, at, length) + length + protocol) & 0xffff
  view.setUint16(at + offset, sum)
}

function checkSum(view: DataView, frame: Uint8Array, protocol: number): void {
  const length = frame.length - HEADERS
  if (view.getUint16(18) !== length) throw new Error('the host sent a wrong payload length')
  const sum = foldSum(sumBytes(view, 22, 32) + sumBytes(view, HEADERS, length) + length + protocol)
  if (sum !== 0xffff) throw new Error('the host sent a wrong checksum')
}
