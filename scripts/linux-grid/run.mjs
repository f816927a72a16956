#!/usr/bin/env node
/**
 * One run of the grid (scripts/linux-grid.mjs), in a network namespace of its own: Linux at the near end, Packrat or
 * Linux at the far end, the same impairment between them.
 *
 *   packrat:  this process ── kernel TCP ── TAP ── impairment ── packrat serve
 *   linux:    this process ── kernel TCP ── TAP ── impairment ── TAP ── kernel TCP ── far-end.mjs (second namespace)
 *                                            └── packrat wire ──┘
 *
 * `receives` means that the far end receives. Goodput is what Linux at the near end knows, for both stacks: the bytes
 * that its sender got acknowledged (ss -ti), or the bytes that its reader was given.
 *
 * Called with one argument, the run as JSON: { stack, direction, impairment, seconds, flows, capture? }. Prints one JSON document.
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { openStore } from '../../dist/storage/index.js'

const ROOT = resolve(import.meta.dirname, '../..')
const PACKRAT = join(ROOT, 'dist/tools/packrat.js')
const NEAR = '10.77.0.1'
const FAR = '10.77.0.2'
const ADMIN = '127.0.0.1:9177'
const SINK_PORT = 9001
const SOURCE_PORT = 9002
const HTTP_PORT = 80
const START_TIMEOUT_MS = 15_000
const WARM_UP_MS = 500

const REGION_BYTES = 1024 << 20
/** Requests are pipelined on one connection, so that the stream never pauses between two values. */
const VALUE_BYTES = 16 << 20
const CHUNK_BYTES = 256 << 10

/**
 * Windows of the kernel as large as Packrat offers, 4 MiB: it counts what segments take of memory, of which two thirds are
 * payload over a TAP. Nothing is remembered of an earlier connection.
 */
const SYSCTLS = [
  'net.ipv4.tcp_rmem=4096 131072 6320000',
  'net.ipv4.tcp_wmem=4096 16384 8388608',
  'net.ipv4.tcp_no_metrics_save=1',
]
/** Four windows of 4 MiB. */
const QUEUE_FRAMES = 12_000
/** What became of the window, too: how slow start ended, and which reductions were taken back. */
const COUNTERS = [
  ...['RetransSegs', 'TCPTimeouts', 'TCPLossProbes', 'TCPFastRetrans', 'TCPSpuriousRTOs', 'TCPSACKReorder'],
  ...['TCPHystartTrainDetect', 'TCPHystartTrainCwnd', 'TCPHystartDelayDetect', 'TCPHystartDelayCwnd'],
  ...['TCPFullUndo', 'TCPPartialUndo', 'TCPDSACKUndo', 'TCPLossUndo', 'TCPSackRecovery', 'PAWSEstab'],
]

const run = JSON.parse(process.argv[2])
const children = []
const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'packrat-grid-'))
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

async function until(ready, what) {
  const deadline = performance.now() + START_TIMEOUT_MS
  while (!(await ready())) {
    if (performance.now() > deadline) throw new Error(`${what} took longer than ${START_TIMEOUT_MS} ms`)
    await sleep(20)
  }
}

/** Starts a program and waits for a line of its output. */
async function start(readyLine, program, ...args) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  await until(() => {
    if (child.exitCode !== null) throw new Error(`${program} ${args.join(' ')} ended: ${output}`)
    return readyLine.test(output)
  }, program)
  return { child, output: () => output }
}

/** Runs a program to its end. */
const call = (...command) => execFileSync(command[0], command.slice(1), { encoding: 'utf8' })

/** Prepares a namespace; `enter` is what puts a program into it. */
function tune(enter = []) {
  call(...enter, 'sysctl', '-q', '-w', ...SYSCTLS)
  call(...enter, 'ip', 'link', 'set', 'lo', 'up')
}

/**
 * CUBIC for this path, whatever the kernel's default is: a namespace may not choose among all algorithms. And a queue in
 * front of the device that a window fits into: the kernel drops what finds its 1000 frames full, and a link without loss
 * would lose hundreds of frames whenever its reader was away for some milliseconds.
 */
function prepareDevice(device, address, enter = []) {
  call(...enter, 'ip', 'link', 'set', device, 'txqueuelen', String(QUEUE_FRAMES))
  const route = ['10.77.0.0/24', 'dev', device, 'proto', 'kernel', 'scope', 'link', 'src', address]
  call(...enter, 'ip', 'route', 'change', ...route, 'congctl', 'cubic')
}

/** Packrat's own stack behind the impairment. */
async function packratEnd() {
  const region = join(directory, 'grid.pm')
  const store = openStore(region, { createBytes: REGION_BYTES, durability: 'process' })
  await store.put('value', new Uint8Array(VALUE_BYTES))
  await store.close()
  const capture = run.capture === undefined ? [] : ['--capture', run.capture]
  await start(
    /^packrat ready/m,
    ...[process.execPath, PACKRAT, 'serve', '--pm', region, '--durability', 'process', '--scrub', 'off'],
    ...[
      '--address',
      `${FAR}/24`,
      '--host-address',
      `${NEAR}/24`,
      '--admin',
      ADMIN,
      '--impair',
      run.impairment,
      ...capture,
    ],
  )
  prepareDevice('packrat0', NEAR)
  const counters = async () => {
    const { tcp, impairment } = await (await fetch(`http://${ADMIN}/stats`)).json()
    return { tcp, impairment }
  }
  const dropped = async () => {
    const { rx, tx } = (await counters()).impairment
    return droppedBefore('packrat0') + rx.heldFull + tx.heldFull
  }
  return { counters, port: () => HTTP_PORT, dropped }
}

/** A second kernel behind the same impairment. */
async function linuxEnd() {
  const holder = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' })
  children.push(holder)
  const network = (pid) => readlinkSync(`/proc/${pid}/ns/net`)
  await until(() => network(holder.pid) !== network('self'), 'a second network namespace')
  const enter = ['nsenter', '--target', String(holder.pid), '--net']
  tune(enter)
  const capture = run.capture === undefined ? [] : ['--capture', run.capture]
  const wire = [
    process.execPath,
    PACKRAT,
    'wire',
    '--left-address',
    `${NEAR}/24`,
    '--impair',
    run.impairment,
    ...capture,
  ]
  const link = await start(/^packrat wire ready/m, ...wire)
  call('ip', 'link', 'set', 'wire1', 'netns', String(holder.pid))
  call(...enter, 'ip', 'address', 'add', `${FAR}/24`, 'dev', 'wire1')
  call(...enter, 'ip', 'link', 'set', 'wire1', 'up')
  prepareDevice('wire0', NEAR)
  prepareDevice('wire1', FAR, enter)
  await start(
    /^ready$/m,
    ...enter,
    process.execPath,
    join(import.meta.dirname, 'far-end.mjs'),
    `${SINK_PORT}`,
    `${SOURCE_PORT}`,
  )
  return {
    counters: async () => kernelCounters(call(...enter, 'cat', '/proc/net/snmp', '/proc/net/netstat')),
    port: () => (run.direction === 'receives' ? SINK_PORT : SOURCE_PORT),
    dropped: async () => {
      const before = droppedBefore('wire0') + droppedBefore('wire1', enter)
      link.child.kill('SIGTERM')
      await until(() => link.child.exitCode !== null, 'the end of the wire')
      const onTheWay = [...link.output().matchAll(/(\d+) dropped because too many/g)]
      return onTheWay.reduce((all, [, number]) => all + Number(number), before)
    },
  }
}

/** Frames that the kernel dropped in front of a device. */
function droppedBefore(device, enter = []) {
  return JSON.parse(call(...enter, 'ip', '-json', '-statistics', 'link', 'show', 'dev', device))[0].stats64.tx.dropped
}

/** Names and values stand in pairs of lines. */
function kernelCounters(text) {
  const lines = text.trim().split('\n')
  const found = {}
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const values = lines[at + 1].split(' ')
    for (const [index, name] of lines[at].split(' ').entries())
      if (COUNTERS.includes(name)) found[name] = Number(values[index])
  }
  return found
}

/** Writes PUT after PUT, or only bytes, for as long as the socket takes them. */
function feed(socket, flow) {
  const chunk = Buffer.alloc(CHUNK_BYTES)
  const head = Buffer.from(`PUT /kv/flow-${flow} HTTP/1.1\r\nHost: ${FAR}\r\nContent-Length: ${VALUE_BYTES}\r\n\r\n`)
  let sent = 0
  const more = () => {
    for (;;) {
      if (run.stack === 'packrat' && sent % VALUE_BYTES === 0) socket.write(head)
      sent += CHUNK_BYTES
      if (!socket.write(chunk)) return
    }
  }
  socket.on('drain', more)
  more()
}

function openFlow(port, flow, count) {
  const socket = connect({
    host: FAR,
    port,
    onread: {
      buffer: Buffer.allocUnsafe(CHUNK_BYTES),
      callback: (bytes) => {
        count(bytes)
        return true
      },
    },
  })
  socket.on('error', (error) => console.error(`flow ${flow}: ${error.message}`))
  socket.on('connect', () => {
    if (run.direction === 'receives') feed(socket, flow)
    else if (run.stack === 'packrat') socket.write(`GET /kv/value HTTP/1.1\r\nHost: ${FAR}\r\n\r\n`.repeat(200)) // 3.3 GB
  })
  return socket
}

/** What the kernel says of its connections to the far end. */
function socketInfo(port) {
  const text = call('ss', '-tinH', 'state', 'established', 'dst', `${FAR}:${port}`)
  const sum = (name) =>
    [...text.matchAll(new RegExp(`\\b${name}:(\\d+)`, 'g'))].reduce((all, [, n]) => all + Number(n), 0)
  return { text, acknowledged: sum('bytes_acked') }
}

tune()
const end = run.stack === 'packrat' ? await packratEnd() : await linuxEnd()
// The neighbour is found before the clock runs; one of these gets through.
call('ping', '-q', '-c', '10', '-i', '0.05', '-W', '2', FAR)
let received = 0
const port = end.port()
// What is compiled on the way is compiled before, in `wire` as in `serve`: a cold start is not what the grid is about.
const first = openFlow(port, 'first', () => {})
await sleep(WARM_UP_MS)
first.destroy()
await sleep(WARM_UP_MS)
const started = performance.now()
const sockets = Array.from({ length: run.flows }, (_, flow) =>
  openFlow(port, flow, (bytes) => {
    received += bytes
  }),
)
await sleep(run.seconds * 1000)
const bytesRead = received
const readUntil = performance.now()
const { text, acknowledged } = socketInfo(port)
const sentUntil = performance.now()
const [bytes, seconds] =
  run.direction === 'receives'
    ? [acknowledged, (sentUntil - started) / 1000]
    : [bytesRead, (readUntil - started) / 1000]
const far = await end.counters()
const near = kernelCounters(readFileSync('/proc/net/snmp', 'utf8') + readFileSync('/proc/net/netstat', 'utf8'))
for (const socket of sockets) socket.destroy()
const megabits = (bytes * 8) / seconds / 1e6
// Losses that nobody asked for: before a device, and because too many were on their way.
const dropped = await end.dropped()
writeFileSync(1, `${JSON.stringify({ megabits, dropped, near, far, sockets: text })}\n`)
process.exit(0)
