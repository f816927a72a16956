#!/usr/bin/env node
/**
 * The measurement of scripts/peers.sh, which calls it inside fresh namespaces.
 *
 *   wrk (core 0) ── kernel TCP ── TAP ──── packrat serve (core 1)      stores durably; region on tmpfs, class process
 *                ├─ kernel TCP ── veth ─── packrat serve (core 1)      the same over AF_XDP: packrat-xdp, if root
 *                └─ kernel TCP ── veth ─┬─ nginx (core 1)              discards bodies, serves files of tmpfs; kernel TCP
 *                                       └─ node:http, 204 (core 1)     discards the body; kernel TCP, second namespace
 *
 * Each server has the same core, one at a time has load, all answer the same requests (scripts/wrk-put.lua). Rounds are
 * interleaved, because the speed of a machine drifts: round 1 of all servers, round 2 of all servers, ...; the figures
 * are medians over the rounds. A round in which wrk met an error counts as failed and is reported.
 *
 * `CPU` is the server process's own time a request (/proc/PID/stat); time that the kernel spends on the server's packets
 * in interrupts is not in it, so it compares runs of one server rather than servers.
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { availableParallelism, cpus, release, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

const ROOT = resolve(import.meta.dirname, '..')
const WRK_SCRIPT = join(ROOT, 'scripts/wrk-put.lua')
const CLIENT_CORE = 0
const SERVER_CORE = availableParallelism() > 1 ? 1 : 0
const START_TIMEOUT_MS = 15_000
const WARM_UP_SECONDS = 1
/** USER_HZ: unit of the times in /proc/PID/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100
const KEYS = 1000

const USAGE = `usage: scripts/peers.sh [flags]
  --connections LIST   connections of wrk, one measurement each (default 1,16,64)
  --seconds N          length of one measurement (default 2)
  --rounds N           measurements of each kind (default 3)
  --bytes N            size of a value (default 1024)
  --method PUT|GET     what is measured (default PUT); for GET each stores the values, nginx as files on tmpfs
  --only LIST          of packrat,packrat-xdp,nginx,node (default packrat,nginx,node)
  --profile DIR        have node write a CPU profile of packrat there
  --json               print one JSON document instead of the table`

function fail(message) {
  console.error(`peers: ${message}`)
  process.exit(3)
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        connections: { type: 'string', default: '1,16,64' },
        seconds: { type: 'string', default: '2' },
        rounds: { type: 'string', default: '3' },
        bytes: { type: 'string', default: '1024' },
        method: { type: 'string', default: 'PUT' },
        only: { type: 'string', default: 'packrat,nginx,node' },
        profile: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(USAGE)
      process.exit(0)
    }
    const numbers = [...values.connections.split(','), values.seconds, values.rounds, values.bytes].map(Number)
    if (!numbers.every((number) => Number.isInteger(number) && number > 0))
      throw new Error('numbers must be whole, above 0')
    if (values.method !== 'PUT' && values.method !== 'GET') throw new Error('--method is PUT or GET')
    return {
      method: values.method,
      connections: values.connections.split(',').map(Number),
      seconds: Number(values.seconds),
      rounds: Number(values.rounds),
      bytes: Number(values.bytes),
      only: values.only.split(','),
      profile: values.profile,
      json: values.json,
    }
  } catch (error) {
    console.error(`peers: ${error.message}\n${USAGE}`)
    return process.exit(2)
  }
}

const options = readOptions()
const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'packrat-peers-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

/* --- the network --- */

const ip = (...args) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] })

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

/** Waits until `ready()` is true. */
async function until(ready, what) {
  const deadline = performance.now() + START_TIMEOUT_MS
  while (!(await ready())) {
    if (performance.now() > deadline) throw new Error(`${what} took longer than ${START_TIMEOUT_MS} ms`)
    await sleep(50)
  }
}

/** A veth pair into a second network namespace. Returns the command that runs a program there. */
async function makeServerNamespace() {
  // The namespace lives as long as this process, which ends with the process namespace of this run.
  const holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' })
  const network = (pid) => readlinkSync(`/proc/${pid}/ns/net`)
  await until(() => network(holder.pid) !== network('self'), 'a second network namespace')
  const enter = ['nsenter', '--target', String(holder.pid), '--net']
  const inside = (...args) => execFileSync(enter[0], [...enter.slice(1), 'ip', ...args])
  ip('link', 'set', 'lo', 'up')
  ip('link', 'add', 'client0', 'type', 'veth', 'peer', 'name', 'server0', 'netns', String(holder.pid))
  ip('address', 'add', '10.88.0.1/24', 'dev', 'client0')
  ip('link', 'set', 'client0', 'up')
  inside('address', 'add', '10.88.0.2/24', 'dev', 'server0')
  inside('link', 'set', 'server0', 'up')
  inside('link', 'set', 'lo', 'up')
  return enter
}

/** A second pair for AF_XDP. What wrk's kernel sends must be finished when it leaves: no card does it on the way. */
function makeXdpLink(enter) {
  const namespace = enter[2]
  ip('link', 'add', 'client1', 'type', 'veth', 'peer', 'name', 'server1', 'netns', namespace)
  ip('address', 'add', '10.89.0.1/24', 'dev', 'client1')
  ip('link', 'set', 'client1', 'up')
  execFileSync(enter[0], [...enter.slice(1), 'ip', 'link', 'set', 'server1', 'up'])
  execFileSync('ethtool', ['-K', 'client1', 'tx', 'off', 'tso', 'off', 'gso', 'off'], { stdio: 'ignore' })
}

/* --- the servers --- */

/** Starts a server on its core; its output goes to a log that is shown if it does not come up. */
async function startServer(name, url, command) {
  const child = spawn('taskset', ['--cpu-list', String(SERVER_CORE), ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
  let log = ''
  child.stdout.on('data', (chunk) => (log += chunk))
  child.stderr.on('data', (chunk) => (log += chunk))
  child.on('error', (error) => (log += error.message))
  const { hostname, port } = new URL(url)
  try {
    await until(() => {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) throw new Error('it ended')
      return isListening(hostname, Number(port || 80))
    }, 'its start')
  } catch (error) {
    child.kill('SIGKILL')
    throw new Error(`${name} did not come up: ${error.message}\n${log}`)
  }
  return { name, url, child, samples: new Map() }
}

function isListening(host, port) {
  return new Promise((done) => {
    const socket = connect({ host, port, timeout: 500 })
    const end = (listening) => {
      socket.destroy()
      done(listening)
    }
    socket.on('connect', () => end(true))
    socket.on('error', () => end(false))
    socket.on('timeout', () => end(false))
  })
}

function isInstalled(program) {
  return ['/usr/sbin', ...process.env.PATH.split(':')].some((folder) => existsSync(join(folder, program)))
}

/**
 * nginx with one worker. `return 204` answers at once; the body is read and discarded before the next request. For GET it
 * serves the files that `writeValues` made.
 */
function nginxConfiguration() {
  const file = join(directory, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${directory};`,
  )
  writeFileSync(
    file,
    `user root; worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log stderr;
events { worker_connections 1024; }
http {
  ${temporary.join(' ')}
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; client_max_body_size 0;
  open_file_cache max=10000; sendfile on; tcp_nopush off;
  server { listen 8080; location / { ${options.method === 'GET' ? `root ${directory}/files;` : 'return 204;'} } }
}
`,
  )
  return file
}

/** The keys of wrk-put.lua's first thread, and the value of each. */
const keyNames = () => Array.from({ length: KEYS }, (_, index) => `wrk-0-${String(index + 1).padStart(6, '0')}`)
const keyValue = () => 'packrat '.repeat(Math.ceil(options.bytes / 8)).slice(0, options.bytes)

/** As files, for nginx. */
function writeValues() {
  const folder = join(directory, 'files/kv')
  mkdirSync(folder, { recursive: true })
  for (const name of keyNames()) writeFileSync(join(folder, name), keyValue())
}

/** As entries. */
async function storeValues(server) {
  for (const name of keyNames()) {
    const { ok, status } = await fetch(`${server.url}kv/${name}`, { method: 'PUT', body: keyValue() })
    if (!ok) throw new Error(`${server.name} answered ${status} to a PUT`)
  }
}

function packratCommand(name, flags) {
  const profile = options.profile ? ['--cpu-prof', `--cpu-prof-dir=${resolve(options.profile)}`] : []
  const region = ['--pm', join(directory, `${name}.pm`), '--pm-size', '512M', '--durability', 'process']
  return [process.execPath, ...profile, join(ROOT, 'dist/tools/packrat.js'), 'serve', ...region, ...flags]
}

async function startServers() {
  const enter = await makeServerNamespace()
  const servers = []
  if (options.only.includes('packrat')) {
    const program = packratCommand('packrat', [])
    servers.push(await startServer('packrat', 'http://10.77.0.2/', program))
  }
  if (options.only.includes('packrat-xdp')) {
    makeXdpLink(enter)
    const flags = ['--device', 'xdp:server1', '--address', '10.89.0.2/24', '--admin', 'none']
    const program = [...enter, ...packratCommand('packrat-xdp', flags)]
    servers.push(await startServer('packrat-xdp', 'http://10.89.0.2/', program))
  }
  if (options.only.includes('nginx')) {
    if (isInstalled('nginx')) {
      if (options.method === 'GET') writeValues()
      const nginx = [...enter, 'nginx', '-p', directory, '-e', 'stderr', '-c', nginxConfiguration()]
      servers.push(await startServer('nginx', 'http://10.88.0.2:8080/', nginx))
    } else {
      console.error('peers: WARNING: nginx is not installed (scripts/setup.sh --for-peers); going on without it')
    }
  }
  if (options.only.includes('node')) {
    const program = [...enter, process.execPath, join(ROOT, 'scripts/discard-server.mjs'), '8081']
    servers.push(await startServer('node:http', 'http://10.88.0.2:8081/', program))
  }
  return servers
}

/* --- one measurement --- */

/** CPU seconds of a process and its children so far. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
  const own = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  return children.reduce((sum, child) => sum + cpuSeconds(child), own)
}

/** Runs a program to its end without blocking: the servers' output must be read meanwhile. */
function output(program, args) {
  return new Promise((done, failed) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.on('data', (chunk) => (text += chunk))
    child.on('error', failed)
    child.on('close', (status) => (status === 0 ? done(text) : failed(new Error(`${program} ended with ${status}`))))
  })
}

async function measure(server, connections, seconds) {
  const load = [
    '--threads',
    '1',
    '--connections',
    `${connections}`,
    '--duration',
    `${seconds}s`,
    '--script',
    WRK_SCRIPT,
  ]
  const cpuBefore = cpuSeconds(server.child.pid)
  const text = await output('taskset', [
    ...['--cpu-list', String(CLIENT_CORE), 'wrk', ...load, server.url],
    ...['--', String(options.bytes), String(KEYS), options.method],
  ])
  const cpu = cpuSeconds(server.child.pid) - cpuBefore
  const result = JSON.parse(/^\{.*\}$/m.exec(text)[0])
  const errors = Object.values(result.errors).reduce((sum, count) => sum + count, 0)
  return {
    requestsPerSecond: result.requests / (result.duration_us / 1e6),
    p50Us: result.p50_us,
    p99Us: result.p99_us,
    cpuUsPerRequest: (cpu * 1e6) / Math.max(1, result.requests),
    errors,
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/* --- the run --- */

async function main() {
  for (const program of ['wrk', 'ip', 'taskset', 'nsenter']) {
    if (!isInstalled(program)) fail(`${program} is not installed; run scripts/setup.sh --for-peers`)
  }
  const servers = await startServers()
  const say = (text) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`)
  for (const server of servers) {
    if (options.method === 'GET' && server.name.startsWith('packrat')) await storeValues(server)
    await measure(server, options.connections.at(-1), WARM_UP_SECONDS)
  }
  for (let round = 1; round <= options.rounds; round++) {
    for (const connections of options.connections) {
      for (const server of servers) {
        say(`round ${round} of ${options.rounds}: ${server.name}, ${connections} connections`)
        const samples = server.samples.get(connections) ?? []
        server.samples.set(connections, samples)
        samples.push(await measure(server, connections, options.seconds))
      }
    }
  }
  say('')
  const results = options.connections.map((connections) => ({
    connections,
    servers: Object.fromEntries(servers.map((server) => [server.name, summary(server.samples.get(connections))])),
  }))
  for (const { servers: row } of results) {
    for (const [name, figures] of Object.entries(row)) {
      const over = (other) =>
        other && other !== figures ? figures.requestsPerSecond / other.requestsPerSecond : undefined
      figures.packratRatio = name === 'packrat' || !row.packrat ? undefined : 1 / over(row.packrat)
      figures.nginxRatio = over(row.nginx)
    }
  }
  await stop(servers)
  return results
}

function summary(samples) {
  const of = (field) => median(samples.map((sample) => sample[field]))
  return {
    requestsPerSecond: Math.round(of('requestsPerSecond')),
    p50Us: of('p50Us'),
    p99Us: of('p99Us'),
    cpuUsPerRequest: Number(of('cpuUsPerRequest').toFixed(2)),
    errors: samples.reduce((sum, sample) => sum + sample.errors, 0),
  }
}

/** In order, so that a CPU profile is written; what does not end is ended with the namespace. */
async function stop(servers) {
  const ended = servers.map(({ child }) => new Promise((done) => child.once('exit', done)))
  for (const { child } of servers) child.kill('SIGTERM')
  await Promise.race([Promise.all(ended), sleep(5000)])
}

function print(results) {
  const cores = CLIENT_CORE === SERVER_CORE ? 'client and server on one core' : 'one core each for client and server'
  console.log(
    `${options.method} of ${options.bytes} bytes, wrk, ${cores}; median of ${options.rounds} rounds of ${options.seconds} s`,
  )
  console.log(`${cpus()[0]?.model ?? 'unknown processor'}, Linux ${release()}, Node ${process.version}\n`)
  const columns = [
    'connections',
    'server',
    'requests/s',
    'packrat is',
    'of nginx',
    'p50 us',
    'p99 us',
    'CPU us/req',
    'errors',
  ]
  const widths = [11, 11, 10, 10, 8, 7, 7, 10, 6]
  const line = (cells) =>
    console.log(cells.map((cell, i) => String(cell)[i === 1 ? 'padEnd' : 'padStart'](widths[i])).join('  '))
  line(columns)
  for (const { connections, servers } of results) {
    for (const [name, row] of Object.entries(servers)) {
      const ratio = row.packratRatio === undefined ? '' : `${row.packratRatio.toFixed(2)} x`
      line([
        connections,
        name,
        row.requestsPerSecond,
        ratio,
        row.nginxRatio === undefined ? '' : `${row.nginxRatio.toFixed(2)} x`,
        row.p50Us,
        row.p99Us,
        row.cpuUsPerRequest.toFixed(2),
        row.errors,
      ])
    }
  }
}

try {
  const results = await main()
  const errors = results.some(({ servers }) => Object.values(servers).some((row) => row.errors > 0))
  if (options.json) {
    const machine = {
      processor: cpus()[0]?.model,
      cores: availableParallelism(),
      kernel: release(),
      node: process.version,
    }
    console.log(
      JSON.stringify(
        {
          machine,
          method: options.method,
          bytes: options.bytes,
          rounds: options.rounds,
          seconds: options.seconds,
          results,
        },
        null,
        2,
      ),
    )
  } else {
    print(results)
  }
  process.exit(errors ? 1 : 0)
} catch (error) {
  fail(error.message)
}
