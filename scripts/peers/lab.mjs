/**
 * The networks and processes of a comparison, all inside the namespaces that scripts/peers.sh made.
 *
 *   this network (clients, core 0) ── client0 ─ veth ─ server0 ── second network (servers, core 1)
 *                                  ├─ client1 ─ veth ─ server1 ── AF_XDP
 *                                  └─ packrat0 ─ TAP
 *
 * Called by: servers.mjs, measure.mjs, peers.mjs.
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'

export const CLIENT_CORE = 0
export const SERVER_CORE = availableParallelism() > 1 ? 1 : 0
const START_TIMEOUT_MS = 15_000
const STOP_TIMEOUT_MS = 5000
/** USER_HZ: unit of the times in /proc/PID/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** Scratch files, in memory where there is some; gone at the end. */
export const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'packrat-peers-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

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

export function isInstalled(program) {
  return ['/usr/sbin', ...process.env.PATH.split(':')].some((folder) => existsSync(join(folder, program)))
}

/** A veth pair into a second network namespace. Returns the command that runs a program there. */
export async function makeServerNamespace() {
  // The namespace lives as long as this process, which ends with the process namespace of this run.
  const holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' })
  const network = (pid) => readlinkSync(`/proc/${pid}/ns/net`)
  await until(() => network(holder.pid) !== network('self'), 'a second network namespace')
  const enter = ['nsenter', '--target', String(holder.pid), '--net']
  ip('link', 'set', 'lo', 'up')
  inside(enter, 'ip', 'link', 'set', 'lo', 'up')
  makePair(enter, 0, '10.88.0')
  inside(enter, 'ip', 'address', 'add', '10.88.0.2/24', 'dev', 'server0')
  return enter
}

/** A pair for AF_XDP. What the client's kernel sends must be finished when it leaves: no card does it on the way. */
export function makeXdpLink(enter) {
  makePair(enter, 1, '10.89.0')
  execFileSync('ethtool', ['-K', 'client1', 'tx', 'off', 'tso', 'off', 'gso', 'off'], { stdio: 'ignore' })
}

function makePair(enter, number, network) {
  const [client, server] = [`client${number}`, `server${number}`]
  ip('link', 'add', client, 'type', 'veth', 'peer', 'name', server, 'netns', enter[2])
  ip('address', 'add', `${network}.1/24`, 'dev', client)
  ip('link', 'set', client, 'up')
  inside(enter, 'ip', 'link', 'set', server, 'up')
}

/** Offloads of the pair between two kernels, both ends: sums, cutting of segments, joining of segments. */
export function setOffloads(enter, isOn) {
  const flags = ['tx', 'rx', 'tso', 'gso', 'gro'].flatMap((name) => [name, isOn ? 'on' : 'off'])
  execFileSync('ethtool', ['-K', 'client0', ...flags], { stdio: 'ignore' })
  inside(enter, 'ethtool', '-K', 'server0', ...flags)
}

function inside(enter, ...command) {
  execFileSync(enter[0], [...enter.slice(1), ...command], { stdio: 'ignore' })
}

/** Starts a server on its core; its output goes to a log that is shown if it does not come up. */
export async function startServer(name, address, port, command) {
  const child = spawn('taskset', ['--cpu-list', String(SERVER_CORE), ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
  let log = ''
  child.stdout.on('data', (chunk) => (log += chunk))
  child.stderr.on('data', (chunk) => (log += chunk))
  child.on('error', (error) => (log += error.message))
  try {
    await until(() => {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) throw new Error('it ended')
      return isListening(address, port)
    }, 'its start')
  } catch (error) {
    child.kill('SIGKILL')
    throw new Error(`${name} did not come up: ${error.message}\n${log}`)
  }
  return { name, address, port, child, command }
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

/** In order, so that a CPU profile is written; what does not end is ended with the namespace. */
export async function stopServers(servers) {
  const ended = servers.map(({ child }) => new Promise((done) => child.once('exit', done)))
  for (const { child } of servers) child.kill('SIGTERM')
  await Promise.race([Promise.all(ended), sleep(STOP_TIMEOUT_MS)])
}

/** CPU seconds of a process and its children so far. */
export function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
  const own = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  return children.reduce((sum, child) => sum + cpuSeconds(child), own)
}

/** Runs a client on its core, to its end, without blocking: the servers' output must be read meanwhile. */
export function runClient(...command) {
  return new Promise((done, failed) => {
    const child = spawn('taskset', ['--cpu-list', String(CLIENT_CORE), ...command], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.on('data', (chunk) => (text += chunk))
    child.on('error', failed)
    child.on('close', (status) =>
      status === 0 ? done(text) : failed(new Error(`${command[0]} ended with ${status}: ${text.trim().slice(-300)}`)),
    )
  })
}
