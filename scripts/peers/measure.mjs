/**
 * One measurement of one peer: requests by wrk, Redis' own by redis-benchmark, streams by iperf3. Called by: peers.mjs.
 */
import { join } from 'node:path'
import { cpuSeconds, runClient } from './lab.mjs'
import { ROOT } from './packages.mjs'
import { KEYS, keyNames, keyValue } from './servers.mjs'

const WRK_SCRIPT = join(ROOT, 'scripts/wrk-put.lua')
/** Tells redis-benchmark, which counts requests and not seconds, how many to send. */
const REDIS_TRIAL_REQUESTS = 20_000

/** Requests a second, latency, and the server's CPU time a request, over `seconds`. */
export async function measure(server, options, connections, seconds) {
  const isRedis = server.name === 'redis'
  // Before the CPU time is read: a trial is no part of what is measured.
  const requests = isRedis ? await redisRequests(server, options, connections, seconds) : 0
  const before = cpuSeconds(server.child.pid)
  const result = isRedis
    ? await measureRedis(server, options, connections, requests)
    : await measureHttp(server, options, connections, seconds)
  const cpu = cpuSeconds(server.child.pid) - before
  return { ...result, cpuUsPerRequest: (cpu * 1e6) / Math.max(1, result.requests) }
}

async function measureHttp({ address, port }, { bytes, method }, connections, seconds) {
  const load = ['--threads', '1', '--connections', `${connections}`, '--duration', `${seconds}s`]
  const script = ['--script', WRK_SCRIPT, `http://${address}:${port}/`, '--', `${bytes}`, `${KEYS}`, method]
  const text = await runClient('wrk', ...load, ...script)
  const result = JSON.parse(/^\{.*\}$/m.exec(text)[0])
  return {
    requests: result.requests,
    requestsPerSecond: result.requests / (result.duration_us / 1e6),
    p50Us: result.p50_us,
    p99Us: result.p99_us,
    errors: Object.values(result.errors).reduce((sum, count) => sum + count, 0),
  }
}

/** How many requests take so long, by the last measurement with so many connections, or else by a trial. */
async function redisRequests(server, options, connections, seconds) {
  const rate =
    server.rates?.get(connections) ??
    (await redisBenchmark(server, options, connections, REDIS_TRIAL_REQUESTS)).requestsPerSecond
  return Math.ceil(rate * seconds)
}

async function measureRedis(server, options, connections, requests) {
  const result = await redisBenchmark(server, options, connections, requests)
  server.rates ??= new Map()
  server.rates.set(connections, result.requestsPerSecond)
  return result
}

async function redisBenchmark({ address, port }, { bytes, method }, connections, requests) {
  const target = ['-h', address, '-p', `${port}`, '-t', method === 'PUT' ? 'set' : 'get', '-d', `${bytes}`]
  const load = ['-c', `${connections}`, '-n', `${requests}`, '-r', `${KEYS}`, '--csv', '--precision', '3']
  const lines = (await runClient('redis-benchmark', ...target, ...load)).trim().split('\n')
  const cells = (line) => line.split(',').map((cell) => cell.replaceAll('"', ''))
  const values = cells(lines.at(-1))
  const column = (name) => Number(values[cells(lines.at(-2)).indexOf(name)])
  return {
    requests,
    requestsPerSecond: column('rps'),
    p50Us: column('p50_latency_ms') * 1000,
    p99Us: column('p99_latency_ms') * 1000,
    errors: 0,
  }
}

/** What GET asks for. */
export async function storeValues(server, options) {
  if (server.name === 'nginx') return // its files are there
  if (server.name === 'redis') {
    await redisBenchmark(server, { ...options, method: 'PUT' }, 16, 20 * KEYS)
    return
  }
  for (const name of keyNames()) {
    const url = `http://${server.address}:${server.port}/kv/${name}`
    const { ok, status } = await fetch(url, { method: 'PUT', body: keyValue(options) })
    if (!ok) throw new Error(`${server.name} answered ${status} to a PUT`)
  }
}

/** Gbit/s of one PUT of a file. */
export async function measureLargePut({ address, port }, file) {
  const format = ['--write-out', '%{http_code} %{speed_upload}', '--output', '/dev/null']
  const flags = ['--silent', '--show-error', '--header', 'Expect:', '--upload-file', file, ...format]
  const [status, speed] = (await runClient('curl', ...flags, `http://${address}:${port}/kv/large`)).split(' ')
  if (status !== '201' && status !== '204') throw new Error(`a PUT of ${file} was answered by ${status}`)
  return (Number(speed) * 8) / 1e9
}

/** Gbit/s of iperf3 that arrived. @param isReverse the server sends */
export async function measureStreams({ address }, streams, seconds, isReverse) {
  const flags = ['--time', `${seconds}`, '--parallel', `${streams}`, '--json', ...(isReverse ? ['--reverse'] : [])]
  const { end } = JSON.parse(await runClient('iperf3', '--client', address, ...flags))
  return end.sum_received.bits_per_second / 1e9
}
