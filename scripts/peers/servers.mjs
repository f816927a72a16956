/**
 * The peers: what each needs, and how it is started. Each has the same core; one at a time has load.
 *
 *   packrat, packrat-xdp     stores durably (class process), over TAP and over AF_XDP
 *   nginx                    kernel TCP; discards bodies, and serves files of tmpfs for GET
 *   nginx-put                kernel TCP; WebDAV PUT of files on tmpfs
 *   node                     kernel TCP; node:http that discards bodies
 *   node-lmdb, node-leveldb  kernel TCP; node:http with a store on tmpfs, each write durable as its store can be
 *   redis                    kernel TCP; append-only file on tmpfs, synced with every write; its own protocol and client
 *
 * Called by: peers.mjs. Calls: lab.mjs.
 */
import { appendFileSync, existsSync, mkdirSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { directory, isInstalled, makeXdpLink, startServer } from './lab.mjs'
import { PEER_PACKAGES, ROOT } from './packages.mjs'

export const KEYS = 1000
/** Of the value that is measured beside iperf3. */
const LARGE_VALUE_BYTES = 1 << 30
const LARGE_REGION_BYTES = 4 * LARGE_VALUE_BYTES
/** Measured with iperf3 instead of requests (measure.mjs). */
export const STREAM_PEERS = ['iperf3']
const KERNEL_ADDRESS = '10.88.0.2'
const SET_UP = 'scripts/setup.sh --for-peers'

const program = (name) => () => (isInstalled(name) ? undefined : `${name} is not installed (${SET_UP})`)
const peerPackage = (name) => () =>
  existsSync(join(PEER_PACKAGES, name)) || existsSync(join(ROOT, 'node_modules', name))
    ? undefined
    : `the package ${name} is not installed (${SET_UP})`
const BOTH = ['PUT', 'GET']

/** `start` gets the command that enters the servers' network, and the options; `colour` is its number in charts. */
export const PEERS = {
  packrat: {
    colour: 4,
    methods: BOTH,
    lacks: () => undefined,
    start: (_enter, options) => startServer('packrat', '10.77.0.2', 80, packrat('packrat', options)),
  },
  'packrat-xdp': {
    colour: 5,
    methods: BOTH,
    lacks: () => (process.getuid() !== 0 || !isInstalled('ethtool') ? 'AF_XDP needs root and ethtool' : undefined),
    start: (enter, options) => {
      makeXdpLink(enter)
      const flags = ['--device', 'xdp:server1', '--address', '10.89.0.2/24', '--admin', 'none']
      return startServer('packrat-xdp', '10.89.0.2', 80, [...enter, ...packrat('packrat-xdp', options, flags)])
    },
  },
  nginx: {
    colour: 2,
    methods: BOTH,
    lacks: program('nginx'),
    start: (enter, options) => {
      if (options.method === 'GET') writeValues(options)
      const location = options.method === 'GET' ? `root ${directory}/files;` : 'return 204;'
      return startNginx('nginx', 8080, enter, location)
    },
  },
  'nginx-put': {
    colour: 6,
    methods: ['PUT'],
    lacks: program('nginx'),
    start: (enter) => {
      const root = join(directory, 'uploads')
      mkdirSync(join(root, 'kv'), { recursive: true })
      return startNginx('nginx-put', 8082, enter, `root ${root}; dav_methods PUT; create_full_put_path on;`)
    },
  },
  node: {
    colour: 0,
    methods: ['PUT'],
    lacks: () => undefined,
    start: (enter) => startServer('node', KERNEL_ADDRESS, 8081, [...enter, ...nodeStore('discard', 8081)]),
  },
  'node-lmdb': {
    colour: 3,
    methods: BOTH,
    lacks: peerPackage('lmdb'),
    start: (enter) => startServer('node-lmdb', KERNEL_ADDRESS, 8083, [...enter, ...nodeStore('lmdb', 8083)]),
  },
  'node-leveldb': {
    colour: 7,
    methods: BOTH,
    lacks: peerPackage('classic-level'),
    start: (enter) => startServer('node-leveldb', KERNEL_ADDRESS, 8084, [...enter, ...nodeStore('leveldb', 8084)]),
  },
  redis: {
    colour: 1,
    methods: BOTH,
    lacks: () => program('redis-server')() ?? program('redis-benchmark')(),
    start: (enter) => {
      const network = ['--bind', KERNEL_ADDRESS, '--port', '6379', '--protected-mode', 'no']
      const file = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--dir', directory]
      return startServer('redis', KERNEL_ADDRESS, 6379, [...enter, 'redis-server', ...network, ...file])
    },
  },
}

/** Why iperf3 cannot be measured; undefined: it can. */
export const lacksStreams = () => program('iperf3')() ?? program('ethtool')()

/** More daemons, for streams: one without offloads, and one whose region holds a large value, twice while it is replaced. */
export const startPlain = (options) => startOther('plain', 1, options, ['--offload', 'none'])
export const startLarge = (options) =>
  startOther('large', 2, options, ['--pm-size', String(LARGE_REGION_BYTES), '--max-value', String(LARGE_VALUE_BYTES)])

function startOther(name, number, options, flags) {
  const network = `10.${78 + number}.0`
  const link = ['--device', `tap:packrat${number}`, '--address', `${network}.2/24`, '--host-address', `${network}.1/24`]
  const command = packrat(name, options, [...link, '--admin', 'none', ...flags])
  return startServer(name, `${network}.2`, 80, command)
}

/** Why there is no room for the large value, its file and what else lies there; undefined: there is. */
export function lacksRoom() {
  const { bavail, bsize } = statfsSync(directory)
  const needed = LARGE_REGION_BYTES + 2 * LARGE_VALUE_BYTES
  if (bavail * bsize >= needed) return undefined
  return `it needs ${needed / 2 ** 30} GiB of ${directory}, ${((bavail * bsize) / 2 ** 30).toFixed(1)} GiB are free`
}

/** A file of LARGE_VALUE_BYTES, on tmpfs. Returns its path. */
export function writeLargeValue() {
  const file = join(directory, 'large')
  const chunk = Buffer.from('packrat '.repeat(1 << 17))
  for (let bytes = 0; bytes < LARGE_VALUE_BYTES; bytes += chunk.length) appendFileSync(file, chunk)
  return file
}

function packrat(name, options, flags = []) {
  const profile = options.profile ? ['--cpu-prof', `--cpu-prof-dir=${options.profile}`] : []
  const region = ['--pm', join(directory, `${name}.pm`), '--pm-size', '512M', '--durability', 'process']
  return [process.execPath, ...profile, join(ROOT, 'dist/tools/packrat.js'), 'serve', ...region, ...flags]
}

function nodeStore(store, port) {
  return [process.execPath, join(ROOT, 'scripts/peers/http-store.mjs'), store, String(port), directory]
}

/** nginx with one worker, connections that stay, no log, sendfile and its cache of open files. */
function startNginx(name, port, enter, location) {
  const folder = join(directory, name)
  mkdirSync(folder)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder};`)
  const file = join(folder, 'nginx.conf')
  writeFileSync(
    file,
    `user root; worker_processes 1; daemon off; pid ${folder}/nginx.pid; error_log stderr;
events { worker_connections 2048; }
http {
  ${temporary.join(' ')}
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; client_max_body_size 0;
  open_file_cache max=10000; sendfile on; tcp_nopush off; client_body_buffer_size 64k;
  server { listen ${port}; location / { ${location} } }
}
`,
  )
  return startServer(name, KERNEL_ADDRESS, port, [...enter, 'nginx', '-p', folder, '-e', 'stderr', '-c', file])
}

/** The keys of wrk-put.lua's first thread, and the value of each. */
export const keyNames = () => Array.from({ length: KEYS }, (_, index) => `wrk-0-${String(index + 1).padStart(6, '0')}`)
export const keyValue = (options) => 'packrat '.repeat(Math.ceil(options.bytes / 8)).slice(0, options.bytes)

/** As files, for nginx. */
function writeValues(options) {
  const folder = join(directory, 'files/kv')
  mkdirSync(folder, { recursive: true })
  for (const name of keyNames()) writeFileSync(join(folder, name), keyValue(options))
}
