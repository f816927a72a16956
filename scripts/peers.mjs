#!/usr/bin/env node
/**
 * The measurement of scripts/peers.sh, which calls it inside fresh namespaces. The peers: peers/servers.mjs.
 *
 * Each server has the same core, the clients have the other; one server at a time has load, all answer the same requests
 * (scripts/wrk-put.lua; Redis the same sizes and keys in its own protocol). Rounds are interleaved, because the speed of a
 * machine drifts: round 1 of all, round 2 of all, ...; figures are medians over the rounds, ratios those of the same round.
 * Peers that are not installed are skipped, and that is said.
 *
 * `CPU` is the server process's own time a request (/proc/PID/stat); time that the kernel spends on the server's packets
 * in interrupts is not in it, so it compares runs of one server rather than servers.
 */
import { describeEnvironment } from '../dist/tools/bench/environment.js'
import { isInstalled, makeServerNamespace, setOffloads, startServer, stopServers } from './peers/lab.mjs'
import { measure, measureLargePut, measureStreams, storeValues } from './peers/measure.mjs'
import { readOptions } from './peers/options.mjs'
import { drawPictures, printTables, summarize, summarizeStreams } from './peers/report.mjs'
import { lacksRoom, lacksStreams, PEERS, startLarge, startPlain, writeLargeValue } from './peers/servers.mjs'

const WARM_UP_SECONDS = 1
const PROGRAMS = ['wrk', 'ip', 'taskset', 'nsenter']

const options = readOptions()
const skipped = []

const say = (text) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`)

function skip(name, reason) {
  skipped.push(`${name}: ${reason}`)
  console.error(`SKIP: ${name}: ${reason}`)
}

async function startPeers(enter) {
  const servers = []
  for (const name of options.only) {
    const peer = PEERS[name]
    const lack = peer?.lacks()
    if (lack !== undefined) skip(name, lack)
    else if (peer !== undefined) {
      say(`starting ${name}`)
      servers.push(await peer.start(enter, options))
    }
  }
  return servers
}

async function compareRequests(servers) {
  const { connections: counts, rounds, seconds, method } = options
  const samples = new Map(servers.map(({ name }) => [name, new Map(counts.map((count) => [count, []]))]))
  for (const server of servers) {
    say(`warming up ${server.name}`)
    if (method === 'GET') await storeValues(server, options)
    await measure(server, options, counts.at(-1), WARM_UP_SECONDS)
  }
  for (let round = 1; round <= rounds; round++) {
    for (const connections of counts) {
      for (const server of servers) {
        say(`round ${round} of ${rounds}: ${server.name}, ${connections} connections`)
        samples
          .get(server.name)
          .get(connections)
          .push(await measure(server, options, connections, seconds))
      }
    }
  }
  const of = (name, connections) => samples.get(name)?.get(connections)
  return counts.map((connections) => ({
    connections,
    servers: Object.fromEntries(
      servers.map(({ name }) => [
        name,
        summarize(of(name, connections), of('packrat', connections), of('nginx', connections)),
      ]),
    ),
  }))
}

/**
 * iperf3 between two kernels over veth, and between a kernel and Packrat on its TAP, with and without offloads; and one PUT
 * of a large value, beside what iperf3 reaches to Packrat.
 */
async function compareStreams(enter, packrat) {
  const lack = lacksStreams()
  if (lack !== undefined) {
    skip('iperf3', lack)
    return []
  }
  const linux = await startServer('iperf3', '10.88.0.2', 5201, [...enter, 'iperf3', '--server'])
  const others = packrat === undefined ? [] : [await startPlain(options)]
  const [plain] = others
  const noRoom = lacksRoom()
  if (packrat !== undefined && noRoom !== undefined) skip('PUT of 1 GiB', noRoom)
  const large = packrat === undefined || noRoom !== undefined ? undefined : await startLarge(options)
  if (large !== undefined) others.push(large)
  const rows = []
  for (const streams of options.streams) {
    for (const isReverse of [false, true]) {
      const row = (server, offloads, other) => {
        const name = isReverse
          ? `${server === linux ? 'Linux' : 'Packrat'} to Linux`
          : `Linux to ${server === linux ? 'Linux' : 'Packrat'}`
        const prepare = server === linux ? () => setOffloads(enter, offloads === 'all') : () => {}
        const run = () => measureStreams(server, streams, options.seconds, isReverse)
        const added = { name, streams, offloads, samples: [], other, prepare, run }
        rows.push(added)
        return added
      }
      const kernels = row(linux, 'all')
      const kernelsPlain = row(linux, 'none')
      if (packrat === undefined) continue
      const daemon = row(packrat, 'all', kernels)
      row(plain, 'none', kernelsPlain)
      if (streams > 1 || isReverse || large === undefined) continue
      const file = writeLargeValue()
      // Twice: one value replaces the other, so both halves of the region have been touched then, and the pages are there.
      for (let warmUp = 0; warmUp < 2; warmUp++) await measureLargePut(large, file)
      const run = () => measureLargePut(large, file)
      rows.push({ name: 'PUT of 1 GiB', streams, offloads: 'all', samples: [], other: daemon, prepare() {}, run })
    }
  }
  for (let round = 1; round <= options.rounds; round++) {
    for (const { name, offloads, streams, samples, prepare, run } of rows) {
      say(`round ${round} of ${options.rounds}: ${name}, ${streams} streams, offloads ${offloads}`)
      prepare()
      samples.push(await run())
    }
  }
  await stopServers([linux, ...others])
  return rows.map(({ name, streams, offloads, samples, other }) => ({
    name,
    streams,
    offloads,
    ...summarizeStreams(samples, other?.samples),
    beside: other?.name,
  }))
}

async function main() {
  const missing = PROGRAMS.filter((program) => !isInstalled(program))
  if (missing.length > 0) throw new Error(`${missing.join(', ')}: not installed; run scripts/setup.sh --for-peers`)
  const command = `scripts/peers.sh ${process.argv.slice(2).join(' ')}`.trim()
  const environment = describeEnvironment('tap, AF_XDP on veth; peers: veth', 'process', command)
  const enter = await makeServerNamespace()
  const servers = await startPeers(enter)
  const results = servers.length > 0 ? await compareRequests(servers) : []
  const packrat = servers.find(({ name }) => name === 'packrat')
  const streams = options.only.includes('iperf3') ? await compareStreams(enter, packrat) : []
  await stopServers(servers)
  say('')
  const { method, bytes, rounds, seconds } = options
  return { environment, method, bytes, rounds, seconds, results, streams, skipped }
}

try {
  const document = await main()
  if (options.svg) drawPictures(options.svg, document)
  if (options.json) console.log(JSON.stringify(document, null, 2))
  else printTables(document)
  const hasErrors = document.results.some(({ servers }) => Object.values(servers).some((row) => row.errors > 0))
  process.exit(hasErrors ? 1 : 0)
} catch (error) {
  console.error(`peers: ${error.message}`)
  process.exit(3)
}
