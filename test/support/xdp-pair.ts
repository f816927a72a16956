/**
 * A veth pair for tests of the AF_XDP device, in a private network: the kernel's end pr-a has 10.66.0.1 and fd66::1, and
 * takes Packrat's addresses 10.66.0.2 and fd66::2 to be at the other end, pr-b. Nobody finishes checksums on the way.
 *
 *   kernel's UDP sockets ── pr-a ══ pr-b ── XdpDevice over a region in /dev/shm
 */
import { spawnSync } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { D_BUFFER, D_LENGTH, D_OFFSET, ReceiveBurst, type TransmitBurst, TX_MORE } from '../../drivers/device.ts'
import { XdpDevice, type XdpOptions, xdpAvailability } from '../../drivers/xdp.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { Region } from '../../storage/region.ts'
import { lacks } from './lab.ts'

export const HOST = '10.66.0.1'
export const PEER = '10.66.0.2'
export const PEER_IPV4 = Uint8Array.of(10, 66, 0, 2)
export const PEER_IPV6 = 'fd66::2'
/** UDP port of the kernel's socket. */
export const SOCKET_PORT = 7000

const ETHERNET_IP_UDP_BYTES = 42
/** What a piece of a frame to send has at most. */
const PIECE_BYTES_MAX = 1800

/** Why there can be no such pair here. */
export const lacksXdpPair = (): string | undefined => xdpAvailability().reason ?? lacks('ethtool')()

export function command(line: string): string {
  const [program, ...args] = line.split(' ')
  const { status, stdout, stderr } = spawnSync(program!, args, { encoding: 'utf8', timeout: 10_000 })
  if (status !== 0) throw new Error(`${line}: ${stderr}`)
  return stdout
}

export function macOf(name: string): string {
  return /link\/ether (\S+)/.exec(command(`ip link show ${name}`))![1]!
}

export function openRegion(path: string): Region {
  Region.create(path, { bytes: 32 << 20 })
  const opened = new Region(path, { durability: 'process' })
  opened.pool.buildFreeLists()
  return opened
}

export class XdpPair {
  readonly region: Region
  private readonly directory = mkdtempSync('/dev/shm/packrat-xdp-')
  private readonly hostMac: string

  constructor(queues: number) {
    const shape = `numrxqueues ${queues} numtxqueues ${queues}`
    command(`ip link add pr-a ${shape} type veth peer name pr-b ${shape}`)
    command(`ip address add ${HOST}/24 dev pr-a`)
    command('ip link set pr-a up')
    command('ip link set pr-b up')
    command('ethtool -K pr-a tx off tso off gso off')
    this.hostMac = macOf('pr-a')
    command(`ip neighbour add ${PEER} lladdr ${macOf('pr-b')} dev pr-a`)
    command(`ip -6 neighbour add ${PEER_IPV6} lladdr ${macOf('pr-b')} dev pr-a`)
    command('ip -6 address add fd66::1/64 dev pr-a nodad')
    this.region = openRegion(join(this.directory, 'region.pm'))
  }

  close(): void {
    this.region.close()
    rmSync(this.directory, { recursive: true, force: true })
  }

  open(options: Partial<XdpOptions> = {}): XdpDevice {
    const { pool, extentOffsets } = this.region
    return new XdpDevice(pool, { interface: 'pr-b', extentOffsets, ipv4: PEER_IPV4, ...options })
  }

  /** Runs the body with a device, and proves that closing it returns every buffer. */
  async withDevice(
    body: (device: XdpDevice) => void | Promise<void>,
    options: Partial<XdpOptions> = {},
  ): Promise<void> {
    const before = this.region.pool.freeBuffers
    const device = this.open(options)
    try {
      await body(device)
    } finally {
      device.close()
    }
    assert.is(this.region.pool.freeBuffers, before, 'every buffer is back')
  }

  /** The error of a device that cannot be opened, which keeps nothing. */
  refusal(options: Partial<XdpOptions>): { code: string; message: string } {
    const before = this.region.pool.freeBuffers
    try {
      this.open(options).close()
    } catch (error) {
      assert.is(this.region.pool.freeBuffers, before, 'nothing is kept')
      return error as { code: string; message: string }
    }
    throw new Error('it was not refused')
  }

  /** The UDP payloads that arrive until there are `count`, or a second has passed; their buffers go back. */
  async receivePayloads(device: XdpDevice, count: number, headerBytes = ETHERNET_IP_UDP_BYTES): Promise<string[]> {
    const { pool } = this.region
    const burst = new ReceiveBurst()
    const payloads: string[] = []
    const deadline = performance.now() + 1000
    while (payloads.length < count && performance.now() < deadline) {
      device.receive(burst)
      for (let frame = 0; frame < burst.count; frame++) {
        const buffer = burst.descriptors[frame * 4 + D_BUFFER]!
        const start = pool.bufferStart(buffer) + burst.descriptors[frame * 4 + D_OFFSET]!
        const end = start + burst.descriptors[frame * 4 + D_LENGTH]!
        payloads.push(Buffer.from(pool.bufferBytes(buffer).subarray(start + headerBytes, end)).toString())
        pool.releaseBuffer(buffer)
      }
      if (burst.count === 0) await sleep(1)
    }
    return payloads
  }

  /** A UDP datagram to the kernel's socket, in one piece, or in two of which the first has `firstPiece` bytes. */
  pushDatagram(device: XdpDevice, burst: TransmitBurst, text: string, firstPiece: number): number[] {
    const frame = this.frameOf(device, text)
    return this.push(burst, frame, firstPiece < frame.length ? [firstPiece, frame.length - firstPiece] : [frame.length])
  }

  /** The same in so many pieces, whose sizes are random but for the headers. */
  pushPieces(device: XdpDevice, burst: TransmitBurst, text: string, pieces: number, random: () => number): number[] {
    const frame = this.frameOf(device, text)
    const sizes: number[] = []
    for (let left = pieces, bytes = frame.length; left > 0; left--) {
      const most = Math.min(bytes - (left - 1), PIECE_BYTES_MAX)
      const least = Math.max(bytes - (left - 1) * PIECE_BYTES_MAX, sizes.length === 0 ? ETHERNET_IP_UDP_BYTES : 1)
      const size = least + ((random() >>> 0) % (Math.max(most, least) - least + 1))
      sizes.push(left === 1 ? bytes : size)
      bytes -= size
    }
    return this.push(burst, frame, sizes)
  }

  private push(burst: TransmitBurst, frame: Buffer, sizes: readonly number[]): number[] {
    const { pool } = this.region
    let from = 0
    return sizes.map((size, piece) => {
      const buffer = pool.allocateBuffer()
      const offset = piece === 0 ? 128 : 248
      pool.bufferBytes(buffer).set(frame.subarray(from, from + size), pool.bufferStart(buffer) + offset)
      burst.push(buffer, offset, size, piece < sizes.length - 1 ? TX_MORE : 0)
      from += size
      return buffer
    })
  }

  private frameOf(device: XdpDevice, text: string): Buffer {
    const frame = Buffer.alloc(ETHERNET_IP_UDP_BYTES + text.length)
    Buffer.from(this.hostMac.replaceAll(':', ''), 'hex').copy(frame, 0)
    Buffer.from(device.mac).copy(frame, 6)
    frame.writeUInt16BE(0x0800, 12)
    frame.writeUInt16BE(0x4500, 14)
    frame.writeUInt16BE(28 + text.length, 16)
    frame.writeUInt8(64, 22)
    frame.writeUInt8(17, 23)
    Buffer.from(PEER_IPV4).copy(frame, 26)
    Buffer.from([10, 66, 0, 1]).copy(frame, 30)
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
    frame.writeUInt16BE(~sumBytes(view, 14, 20) & 0xffff, 24)
    frame.writeUInt16BE(9, 34)
    frame.writeUInt16BE(SOCKET_PORT, 36)
    frame.writeUInt16BE(8 + text.length, 38) // checksum 0: none (RFC 768)
    frame.write(text, ETHERNET_IP_UDP_BYTES)
    return frame
  }
}

/** A UDP socket of the kernel's on SOCKET_PORT, while the body runs. */
export async function withSocket(type: 'udp4' | 'udp6', body: (socket: Socket) => Promise<void>): Promise<void> {
  const socket = createSocket(type)
  socket.bind(SOCKET_PORT)
  await once(socket, 'listening')
  try {
    await body(socket)
  } finally {
    socket.close()
  }
}
