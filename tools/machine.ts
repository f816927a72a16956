/**
 * What this machine offers to Packrat, read from /proc, /sys and /dev without changing anything. Called by doctor.ts,
 * which judges and prints.
 *
 * Only what was established is stated; what cannot be told from here is `unknown` with the reason. All paths are below
 * `root`, so that tests describe machines as folders.
 */
import { accessSync, constants, existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { type Durability, isSupportedFileSystem, persistenceDomains, strongestClass } from '../storage/durability.ts'

/** linux/capability.h: bit numbers. */
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13, CAP_IPC_LOCK: 14, CAP_SYS_ADMIN: 21, CAP_BPF: 39 }
export type Capability = keyof typeof CAPABILITIES

/** ok: there. missing: not there. unknown: cannot be told from here. */
export type State = 'ok' | 'missing' | 'unknown'

export interface Finding {
  readonly name: string
  readonly state: State
  /** What was found, and where. */
  readonly detail: string
  /** What to do if it is missing; '' if nothing can be done, or need be. */
  readonly hint: string
  /** `packrat serve` cannot run without it. */
  readonly required: boolean
}

/** Where a region could lie, and what its replies would promise there. */
export interface Place {
  readonly path: string
  readonly fileSystem: string
  /** undefined: packrat refuses to put a region there. */
  readonly durability: Durability['class'] | undefined
  readonly evidence: string
  /** Whether the kernel can pin its pages for AF_XDP. */
  readonly pinnable: boolean
}

/** An interface that `--device xdp:` could name. */
export interface XdpInterface {
  readonly name: string
  /** Receive queues, MTU and whether it is up; what stands in the way. */
  readonly detail: string
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}

/* --- process --- */

/** Which of the capabilities that matter are in effect; undefined without /proc. */
export function capabilities(root: string): Set<Capability> | undefined {
  const mask = /^CapEff:\s+([0-9a-f]+)$/m.exec(readText(join(root, 'proc/self/status')) ?? '')
  if (!mask) return undefined
  const bits = BigInt(`0x${mask[1]}`)
  const names = Object.keys(CAPABILITIES) as Capability[]
  return new Set(names.filter((name) => (bits >> BigInt(CAPABILITIES[name])) & 1n))
}

/** Whether capabilities count in a user namespace only: then they rule its own network, not the machine's. */
function inUserNamespace(root: string): boolean {
  const map = (readText(join(root, 'proc/self/uid_map')) ?? '').trim().split(/\s+/)
  return map.length === 3 && map.join(' ') !== '0 0 4294967295'
}

export function nodeFinding(version: string, minimum: string): Finding {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  const [wantedMajor = 0, wantedMinor = 0] = minimum.split('.').map(Number)
  const ok = major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
  const hint = ok ? '' : `install Node.js ${minimum} or newer (https://nodejs.org)`
  return {
    name: 'Node.js',
    state: ok ? 'ok' : 'missing',
    detail: `${version}, wanted >= ${minimum}`,
    hint,
    required: true,
  }
}

export function memlockFinding(root: string): Finding {
  const limit = /^Max locked memory\s+(\S+)/m.exec(readText(join(root, 'proc/self/limits')) ?? '')
  const base = { name: 'locked memory', required: false }
  if (!limit) return { ...base, state: 'unknown', detail: '/proc/self/limits cannot be read', hint: '' }
  if (limit[1] === 'unlimited' || capabilities(root)?.has('CAP_IPC_LOCK')) {
    return { ...base, state: 'ok', detail: `limit ${limit[1]} bytes, not enforced here`, hint: '' }
  }
  const hint = 'for xdp devices raise it: ulimit -l unlimited (an AF_XDP region is locked in memory)'
  return { ...base, state: 'missing', detail: `limit ${limit[1]} bytes`, hint }
}

/* --- devices --- */

export function tunFinding(root: string): Finding {
  const device = join(root, 'dev/net/tun')
  const base = { name: 'TAP interfaces', required: true }
  if (!existsSync(device)) {
    const hint = 'load the module (modprobe tun), or give the container --device /dev/net/tun'
    return { ...base, state: 'missing', detail: '/dev/net/tun does not exist', hint }
  }
  try {
    accessSync(device, constants.R_OK | constants.W_OK)
  } catch {
    return { ...base, state: 'missing', detail: '/dev/net/tun may not be opened by this user', hint: 'run with sudo' }
  }
  return { ...base, state: 'ok', detail: '/dev/net/tun can be opened', hint: '' }
}

export function netAdminFinding(root: string): Finding {
  const held = capabilities(root)
  const base = { name: 'CAP_NET_ADMIN', required: true }
  if (!held) return { ...base, state: 'unknown', detail: '/proc/self/status cannot be read', hint: '' }
  if (!held.has('CAP_NET_ADMIN')) {
    const hint = 'run with sudo, or `unshare -Urn` for a private network without root'
    return { ...base, state: 'missing', detail: 'not in effect', hint }
  }
  const detail = inUserNamespace(root) ? 'in effect in this user namespace, for networks made in it' : 'in effect'
  return { ...base, state: 'ok', detail, hint: '' }
}

/** The kernel lists the socket families that it has registered; AF_XDP is never a module. */
export function xdpFinding(root: string): Finding {
  const base = { name: 'AF_XDP', required: false }
  const protocols = readText(join(root, 'proc/net/protocols'))
  if (protocols === undefined) {
    return { ...base, state: 'unknown', detail: '/proc/net/protocols cannot be read', hint: '' }
  }
  if (!/^XDP\s/m.test(protocols)) {
    return { ...base, state: 'missing', detail: 'the kernel was built without CONFIG_XDP_SOCKETS', hint: '' }
  }
  const held = capabilities(root) ?? new Set()
  const mayLoad = (held.has('CAP_BPF') || held.has('CAP_SYS_ADMIN')) && !inUserNamespace(root)
  if (!mayLoad || !held.has('CAP_NET_RAW')) {
    const detail =
      'the kernel has it; this process may not load its program (CAP_BPF, CAP_NET_RAW outside user namespaces)'
    return { ...base, state: 'missing', detail, hint: 'run with sudo' }
  }
  const detail = 'the kernel has it, and this process may use it'
  return { ...base, state: 'ok', detail, hint: '' }
}

/** The interfaces of this network namespace, with what the kernel says of each. @param mtuMax largest packet for AF_XDP */
export function xdpInterfaces(root: string, mtuMax: number): XdpInterface[] {
  return listFolder(join(root, 'sys/class/net'))
    .filter((name) => name !== 'lo' && existsSync(join(root, 'sys/class/net', name, 'mtu')))
    .map((name) => {
      const folder = join(root, 'sys/class/net', name)
      const queues = listFolder(join(folder, 'queues')).filter((queue) => queue.startsWith('rx-')).length
      const mtu = Number(readText(join(folder, 'mtu')))
      const up = (Number(readText(join(folder, 'flags'))) & 1) !== 0 // IFF_UP
      const tooLarge = mtu > mtuMax ? `, too large: set it to ${mtuMax} or less` : ''
      const state = up ? 'up' : `down: ip link set ${name} up`
      return { name, detail: `${queues === 1 ? '1 queue' : `${queues} queues`}, MTU ${mtu}${tooLarge}, ${state}` }
    })
}

/* --- persistent memory --- */

export function daxFinding(root: string): Finding {
  const base = { name: 'DAX devices', required: false }
  const devices = listFolder(join(root, 'dev')).filter((name) => /^(dax\d+\.\d+|pmem\d+)/.test(name))
  if (devices.length === 0) return { ...base, state: 'missing', detail: 'no /dev/dax* and no /dev/pmem*', hint: '' }
  return { ...base, state: 'ok', detail: devices.map((name) => `/dev/${name}`).join(', '), hint: '' }
}

export function eadrFinding(root: string): Finding {
  const base = { name: 'eADR', required: false, hint: '' }
  const domains = persistenceDomains(join(root, 'sys/bus/nd/devices'))
  if (domains.length === 0) return { ...base, state: 'missing', detail: 'no NVDIMM region in /sys/bus/nd/devices' }
  const all = domains.every((domain) => domain === 'cpu_cache')
  return { ...base, state: all ? 'ok' : 'missing', detail: `persistence_domain: ${domains.join(', ')}` }
}

/** The instructions that write cache lines back, best first, as /proc/cpuinfo names them (x86; dcpop: aarch64 DC CVAP). */
const FLUSH_FLAGS = ['clwb', 'clflushopt', 'clflush', 'dcpop']

export function flushFinding(root: string): Finding {
  const base = { name: 'cache flush', required: false, hint: '' }
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(readText(join(root, 'proc/cpuinfo')) ?? '')
  if (!flags) return { ...base, state: 'unknown', detail: '/proc/cpuinfo shows no flags' }
  const present = FLUSH_FLAGS.filter((flag) => flags[1]!.split(/\s+/).includes(flag))
  if (present.length === 0) return { ...base, state: 'missing', detail: `none of ${FLUSH_FLAGS.join(', ')}` }
  return { ...base, state: 'ok', detail: present.join(', ') }
}

/* --- places for a region --- */

interface Mount {
  readonly point: string
  readonly type: string
  readonly options: string
}

/** The mount that holds `path`; proc_pid_mountinfo(5). Later lines cover earlier ones at the same point. */
export function mountOf(mountinfo: string, path: string): Mount | undefined {
  let best: Mount | undefined
  for (const line of mountinfo.split('\n')) {
    const [fields, source] = line.split(' - ')
    const raw = fields?.split(' ')[4]
    const [type, , superOptions] = source?.split(' ') ?? []
    if (raw === undefined || type === undefined) continue
    const point = raw.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
    const holds = path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`)
    if (holds && point.length >= (best?.point.length ?? 0)) best = { point, type, options: superOptions ?? '' }
  }
  return best
}

/** Mount types under the names that storage knows (those of statfs): one driver serves ext2 to ext4. */
function fileSystemName(type: string): string {
  if (/^ext[234]$/.test(type)) return 'ext4'
  if (/^fuse(blk)?(\.|$)/.test(type)) return 'fuse'
  return type === 'nfs4' ? 'nfs' : type
}

/** The page cache of a disk cannot be pinned for long (EFAULT), fsdax not at all; devdax is no place for files. */
const PINNABLE = new Set(['tmpfs', 'hugetlbfs'])

/** What packrat would choose for a region in the folder. */
export function placeOf(root: string, folder: string): Place {
  const path = existsSync(folder) ? realpathSync(folder) : folder
  const mount = mountOf(readText(join(root, 'proc/self/mountinfo')) ?? '', path)
  const none = { path, durability: undefined, pinnable: false }
  if (!mount) return { ...none, fileSystem: 'unknown', evidence: 'not in /proc/self/mountinfo' }
  const fsName = fileSystemName(mount.type)
  if (!isSupportedFileSystem(fsName)) {
    return { ...none, fileSystem: fsName, evidence: 'shared mappings promise nothing there' }
  }
  // `dax` or `dax=always`; with `dax=inode` it depends on the file, which does not exist yet.
  const dax = mount.options.split(',').some((option) => option === 'dax' || option === 'dax=always')
  const durability = strongestClass({ path, fsName, device: false, mapSync: dax })
  const evidence = dax ? 'mounted with dax: MAP_SYNC is tried when the region is opened' : 'mounted without dax'
  return { path, fileSystem: fsName, durability, evidence, pinnable: PINNABLE.has(fsName) }
}
