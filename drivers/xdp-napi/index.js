/**
 * AF_XDP sockets for Node.js. The rings are typed arrays: whoever moves frames reads and writes them directly and calls
 * in here only to kick. The native side returns -errno; here it becomes an XdpError with a stable `code`.
 */
import { createRequire } from 'node:module'
import { getSystemErrorName } from 'node:util'

const native = createRequire(import.meta.url)('./build/Release/xdp_napi.node')

export const STATISTICS = 6
export const S_RX_DROPPED = 0
export const S_RX_INVALID = 1
export const S_TX_INVALID = 2
export const S_RX_RING_FULL = 3
export const S_FILL_RING_EMPTY = 4
export const S_TX_RING_EMPTY = 5

/* linux/if_xdp.h */
const XDP_COPY = 2
const XDP_ZEROCOPY = 4
const XDP_USE_SG = 16

/* The order of the native side. */
const RING_KINDS = ['fill', 'completion', 'rx', 'tx']
const PARAMETERS = 11
const P_STAGE = 10
const STAGE_SOCKET = 0
const STAGE_UMEM = 1
const STAGE_BIND = 4
const PROGRAM_PARAMETERS = 6
const O_STAGE = 5
const PROGRAM_ATTACH = 2

export class XdpError extends Error {
  constructor(code, message) {
    super(message)
    this.name = 'XdpError'
    this.code = code
  }
}

const codeOf = (status) => (status === -524 ? 'ENOTSUPP' : getSystemErrorName(status))

const CAPABILITY_HINT = 'run with sudo; user namespaces may not load it'

/** What the user can do, by the step that failed and the kernel's answer. */
const socketReasons = {
  [STAGE_SOCKET]: {
    EPERM: 'opening an AF_XDP socket needs CAP_NET_RAW; run with sudo',
    EAFNOSUPPORT: 'the kernel was built without CONFIG_XDP_SOCKETS',
  },
  [STAGE_UMEM]: {
    EFAULT:
      'the kernel may not pin the memory of this file system; a region for AF_XDP lies on /dev/shm (tmpfs), hugetlbfs or a /dev/dax device',
    ENOTSUP:
      'fsdax files cannot be pinned; a region for AF_XDP lies on a /dev/dax device, /dev/shm (tmpfs) or hugetlbfs',
    ENOBUFS: 'the region is more than may be locked in memory; raise the limit with ulimit -l unlimited, or use sudo',
    ENOMEM: 'there is not enough memory to pin the region; choose a smaller one',
    EXDEV: 'the extents are not parts of one mapping that begins with a page',
    EPERM: 'pinning memory needs CAP_IPC_LOCK or a higher ulimit -l',
  },
  [STAGE_BIND]: {
    EBUSY: 'another AF_XDP socket has this queue; stop its process or choose another queue',
    EINVAL: 'the interface has no such queue',
    ENODEV: 'the interface does not exist any more',
    ENETDOWN: 'the interface is down; bring it up with: ip link set IFACE up',
    ENOTSUP: 'the driver has no zero-copy mode; choose copy',
  },
}

const programReasons = {
  EPERM: `loading its program needs CAP_BPF and CAP_NET_ADMIN; ${CAPABILITY_HINT}`,
  ENOSYS: 'the kernel has no bpf(2)',
}

const attachReasons = {
  EBUSY: 'another XDP program is attached; remove it with: ip link set IFACE xdp off',
  EEXIST: 'an XDP program of the other mode is attached; remove it with: ip link set IFACE xdp off',
  ENOTSUP: 'the driver has no native XDP; choose the generic mode',
  ERANGE: 'the MTU is too large for XDP on this driver; lower it',
  EINVAL: 'the driver refuses the program: often its MTU is too large for XDP, or its offloads collide (LRO)',
  EPERM: 'attaching a program needs CAP_NET_ADMIN; run with sudo',
}

function failure(what, status, reasons) {
  const code = codeOf(status)
  return new XdpError(code, `${what}: ${reasons?.[code] ?? `the kernel says ${code}`}`)
}

function check(status, what) {
  if (status < 0) throw failure(what, status)
  return status
}

/** Why no program can be loaded by this process, as `{code, message}`, or undefined. Leaves nothing. */
export function probe() {
  const status = native.probe()
  if (status >= 0) return undefined
  const { code, message } = failure('AF_XDP', status, programReasons)
  return { code, message }
}

export function readInterface(name) {
  const values = new Int32Array(5)
  const mac = new Uint8Array(6)
  const status = native.interface(name, values, mac)
  if (status < 0)
    throw failure(`cannot use interface ${name}`, status, { ENODEV: 'there is none of this name here; see: ip link' })
  const [index, mtu, up, queues, stamps] = values
  return { index, mtu, isUp: up === 1, queues, stampsFrames: stamps === 1, mac }
}

export class XdpSocket {
  #id
  #ready
  rings

  constructor(options) {
    const { ifindex, queue, memory, rings, mode = 'auto', scatter = false, busyPollUs = 0, share } = options
    const bindFlags = (mode === 'copy' ? XDP_COPY : mode === 'zerocopy' ? XDP_ZEROCOPY : 0) | (scatter ? XDP_USE_SG : 0)
    const parameters = new Int32Array(PARAMETERS)
    const sizes = RING_KINDS.map((kind) => rings[kind])
    parameters.set([ifindex, queue, ...sizes, 0, bindFlags, busyPollUs, share === undefined ? -1 : share.#id])
    const onReadable = () => {
      const ready = this.#ready
      this.#ready = undefined
      ready?.()
    }
    const id = native.openSocket(parameters, memory?.extents ?? [], memory?.offsets ?? [], onReadable)
    if (id < 0) {
      const what = `cannot open an AF_XDP socket on queue ${queue}`
      throw failure(what, id, socketReasons[parameters[P_STAGE]])
    }
    this.#id = id
    this.rings = Object.fromEntries(RING_KINDS.map((kind, index) => [kind, this.#ring(index)]))
  }

  #ring(kind) {
    const offsets = new Int32Array(5)
    const memory = native.ring(this.#id, kind, offsets)
    if (typeof memory === 'number') throw failure('cannot map a ring', memory)
    const [producer, consumer, flags, descriptors, entries] = offsets
    return {
      words: new Int32Array(memory, 0, memory.byteLength >> 2),
      producer: producer >> 2,
      consumer: consumer >> 2,
      flags: flags >> 2,
      descriptors: descriptors >> 2,
      entries,
    }
  }

  get isZeroCopy() {
    return check(native.isZeroCopy(this.#id), 'read the mode') === 1
  }

  kick() {
    return native.kick(this.#id)
  }

  wake() {
    return native.wake(this.#id)
  }

  readStatistics(into) {
    check(native.statistics(this.#id, into), 'read the statistics')
  }

  onReadable(callback) {
    check(native.arm(this.#id), 'wait for frames')
    this.#ready = callback
  }

  /** For XdpProgram. */
  get id() {
    return this.#id
  }

  release() {
    this.#ready = undefined
    if (this.#id === -1) return
    native.closeSocket(this.#id)
    this.#id = -1
  }
}

export class XdpProgram {
  #id

  constructor({ ifindex, queues, native: isNative, mac, ipv4, ipv6 = [], fragments = false, timestampFunction = 0 }) {
    const addresses = new Uint8Array(10 + 16 * ipv6.length)
    addresses.set(mac, 0)
    addresses.set(ipv4, 6)
    ipv6.forEach((address, index) => {
      addresses.set(address, 10 + 16 * index)
    })
    const parameters = new Int32Array(PROGRAM_PARAMETERS)
    parameters.set([ifindex, queues, isNative ? 1 : 0, fragments ? 1 : 0, timestampFunction])
    const id = native.openProgram(parameters, addresses)
    if (id < 0) {
      const attaching = parameters[O_STAGE] === PROGRAM_ATTACH
      const what = attaching
        ? `cannot attach the XDP program in ${isNative ? 'native' : 'generic'} mode`
        : 'cannot load the XDP program'
      throw failure(what, id, attaching ? attachReasons : programReasons)
    }
    this.#id = id
  }

  setSocket(queue, socket) {
    check(native.setSocket(this.#id, queue, socket.id), `direct queue ${queue} to its socket`)
  }

  release() {
    if (this.#id === -1) return
    native.closeProgram(this.#id)
    this.#id = -1
  }
}
