/**
 * TAP interfaces for Node.js. Configuration is properties; frames go in bursts into and out of memory that the
 * caller owns. The native side returns -errno; here it becomes a TapError with a stable `code`.
 */
import { createRequire } from 'node:module'
import { getSystemErrorName } from 'node:util'

const native = createRequire(import.meta.url)('./build/Release/tuntap2.node')

export const COUNTERS = 9
export const C_RECEIVED_FRAMES = 0
export const C_RECEIVED_BYTES = 1
export const C_RECEIVE_TRUNCATED = 2
export const C_TRANSMITTED_FRAMES = 3
export const C_TRANSMITTED_BYTES = 4
export const C_TRANSMIT_REFUSED = 5
export const C_RECEIVED_PARTIAL_SUMS = 6
export const C_RECEIVED_LONG = 7
export const C_TRANSMITTED_LONG = 8

const OFFLOADS = ['none', 'checksum', 'all']

export class TapError extends Error {
  constructor(code, message) {
    super(message)
    this.name = 'TapError'
    this.code = code
  }
}

const PERMISSION_HINT = 'run it with sudo, or in a private network with `unshare -Urn`'

/** What the user can do about an error of opening. */
const openReasons = {
  ENOENT: [
    'ENODEV',
    'there is no /dev/net/tun; load the driver with `modprobe tun`, or give the container `--device /dev/net/tun`',
  ],
  ENODEV: ['ENODEV', 'the kernel has no TUN driver loaded; load it with `modprobe tun`'],
  ENXIO: ['ENODEV', 'the kernel has no TUN driver loaded; load it with `modprobe tun`'],
  EACCES: ['EPERM', `/dev/net/tun may not be opened by this user; ${PERMISSION_HINT}`],
  EPERM: ['EPERM', `creating a TAP needs CAP_NET_ADMIN; ${PERMISSION_HINT}`],
  EBUSY: ['EBUSY', 'another process holds it; stop that process or choose another name'],
  EINVAL: ['EINVAL', 'an interface of this name exists and is not a TAP; choose another name'],
}

function openFailure(status) {
  const code = getSystemErrorName(status)
  return openReasons[code] ?? [code, `the kernel says ${code}`]
}

/** Throws for a negative status; passes anything else through. */
function check(result, what) {
  if (typeof result !== 'number' || result >= 0) return result
  const code = getSystemErrorName(result)
  if (code === 'EBADF') throw new TapError('EBADF', `cannot ${what}: the TAP is released`)
  if (code === 'ENODEV') throw new TapError('ENODEV', `cannot ${what}: the interface was deleted; open it anew`)
  if (code === 'EPERM') throw new TapError('EPERM', `cannot ${what}: it needs CAP_NET_ADMIN; ${PERMISSION_HINT}`)
  if (code === 'EINVAL') throw new TapError('EINVAL', `cannot ${what}: the kernel does not accept the value`)
  throw new TapError(code, `cannot ${what}: the kernel says ${code}`)
}

/** Steering has permissions of its own, and kernels without it. */
function checkSteering(status, what) {
  const code = typeof status === 'number' && status < 0 ? getSystemErrorName(status) : ''
  if (code === 'EPERM') throw new TapError(code, `cannot ${what}: it needs CAP_SYS_ADMIN; run it with sudo`)
  if (code === 'ENOENT' || code === 'ENOSYS')
    throw new TapError(code, `cannot ${what}: this kernel has no receive packet steering`)
  return check(status, what)
}

function invalid(what, value, form) {
  return new TapError('EINVAL', `bad ${what} ${JSON.stringify(value)}: expected ${form}`)
}

/** Why no TAP can be created now, as `{code, message}`, or undefined. Creates nothing. */
export function probe() {
  const status = native.probe()
  if (status >= 0) return undefined
  const [code, message] = openFailure(status)
  return { code, message }
}

/** Internet sum (RFC 1071), folded and not complemented, as `receiveBurst` computes it. */
export function internetSum(bytes) {
  return check(native.sum(bytes), 'sum: expected a Uint8Array')
}

export class Tap {
  #id
  #ready

  constructor(name = '', { offload = 'none' } = {}) {
    // What the kernel accepts (dev_valid_name), and no `%`, which would be its pattern for numbering.
    if (typeof name !== 'string' || (name !== '' && !/^[^\s/:%]{1,15}$/.test(name)) || name === '.' || name === '..')
      throw invalid('interface name', name, '1 to 15 characters without space, `/`, `:` and `%`')
    if (!OFFLOADS.includes(offload)) throw invalid('offload', offload, OFFLOADS.join(', '))
    const onReadable = () => {
      const ready = this.#ready
      this.#ready = undefined
      ready?.()
    }
    const id = native.open(name, onReadable, OFFLOADS.indexOf(offload))
    if (id < 0) {
      const [code, reason] = openFailure(id)
      throw new TapError(code, `cannot open TAP ${name || '(unnamed)'}: ${reason}`)
    }
    this.#id = id
  }

  get name() {
    return check(native.getName(this.#id), 'read the name')
  }

  get mac() {
    const mac = new Uint8Array(6)
    check(native.getMac(this.#id, mac), 'read the MAC address')
    return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':')
  }

  set mac(text) {
    if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text))
      throw invalid('MAC address', text, 'six hexadecimal bytes, 02:00:00:00:00:01')
    const mac = Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16))
    check(native.setMac(this.#id, mac), `set the MAC address ${text}`)
  }

  get mtu() {
    return check(native.getMtu(this.#id), 'read the MTU')
  }

  set mtu(mtu) {
    check(native.setMtu(this.#id, mtu), `set the MTU ${mtu}`)
  }

  get queueLength() {
    return check(native.getQueueLength(this.#id), 'read the length of its queue')
  }

  set queueLength(frames) {
    check(native.setQueueLength(this.#id, frames), `set the length of its queue to ${frames} frames`)
  }

  get ipv4() {
    return check(native.getAddress(this.#id, 4), 'read the IPv4 address') || null
  }

  set ipv4(cidr) {
    this.#setAddress(4, cidr, 32, 'an IPv4 address and prefix length, 10.0.0.1/24')
  }

  get ipv6() {
    return check(native.getAddress(this.#id, 6), 'read the IPv6 address') || null
  }

  set ipv6(cidr) {
    this.#setAddress(6, cidr, 128, 'an IPv6 address and prefix length, fd00::1/64')
  }

  #setAddress(version, cidr, prefixMax, form) {
    const [, address, prefix] = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(cidr) ?? []
    if (address === undefined || Number(prefix) > prefixMax || address.includes(':') !== (version === 6))
      throw invalid(`IPv${version} address`, cidr, form)
    const status = native.setAddress(this.#id, version, address, Number(prefix))
    // What the kernel says of IPv6 where it is switched off, and where it was left out.
    if (version === 6 && status < 0 && ['EACCES', 'EAFNOSUPPORT', 'EOPNOTSUPP'].includes(getSystemErrorName(status)))
      throw new TapError(
        getSystemErrorName(status),
        `cannot set the IPv6 address ${cidr}: IPv6 is switched off in the kernel; switch it on with \`sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0\``,
      )
    check(status, `set the IPv${version} address ${cidr}`)
  }

  get isUp() {
    return check(native.getUp(this.#id), 'read the state') === 1
  }

  set isUp(up) {
    check(native.setUp(this.#id, Boolean(up)), up ? 'bring it up' : 'take it down')
  }

  set persistent(persistent) {
    check(native.setPersistent(this.#id, Boolean(persistent)), 'make it persistent')
  }

  get steering() {
    return checkSteering(native.getSteering(this.#id), 'read which processors take in what is sent')
  }

  set steering(mask) {
    if (!/^[0-9a-f]{1,8}(,[0-9a-f]{8})*$/i.test(mask))
      throw invalid('mask of processors', mask, 'hexadecimal words of 32 processors, the highest first, commas between')
    checkSteering(native.setSteering(this.#id, mask), `have the processors ${mask} take in what is sent`)
  }

  attach({ extents, dataStart, buffers }) {
    check(native.attach(this.#id, extents, dataStart, buffers), 'attach the memory: buffers and extents do not agree')
  }

  receiveBurst(descriptors, first, count, framesMax = count, frameSlots = 1) {
    return native.receiveBurst(this.#id, descriptors, first, count, framesMax, frameSlots)
  }

  transmitBurst(descriptors, count) {
    return native.transmitBurst(this.#id, descriptors, count)
  }

  readCounters(counters) {
    check(native.readCounters(this.#id, counters), 'read the counters')
  }

  onReadable(callback) {
    check(native.arm(this.#id), 'wait for frames')
    this.#ready = callback
  }

  release() {
    this.#ready = undefined
    if (this.#id === -1) return
    native.release(this.#id)
    this.#id = -1
  }
}
