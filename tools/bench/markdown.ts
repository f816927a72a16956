/**
 * What benchmarks print with --json, as tables for docs/results.md; below each table what it was measured on. Which
 * benchmark a document is of shows in its fields. Called by: results.ts.
 */
import { PackratError } from '../../storage/errors.ts'
import type { Environment } from './environment.ts'
import type { Figure2, Figure2Point } from './figure2.ts'
import type { RoundTrips } from './round-trip.ts'
import { shortNumber } from './statistics.ts'
import type { StoreBench } from './store.ts'
import type { Curve } from './sweep.ts'
import type { Table1 } from './table1.ts'

interface Measured {
  readonly environment?: Environment
}

/** @throws PackratError RESULTS */
export function tableOf(document: object): string {
  const { environment } = document as Measured
  return `${bodyOf(document)}\n\n${environment === undefined ? 'On what it was measured was not recorded.' : provenance(environment)}`
}

function bodyOf(document: object): string {
  if ('rows' in document) return table1Tables(document as Table1 & { roundTripsUs?: readonly RoundTrips[] })
  if ('points' in document) return figure2Table(document as Figure2)
  if ('curves' in document) return curveTables((document as { curves: readonly Curve[] }).curves)
  if ('windows' in document) return storeTable(document as StoreBench)
  if ('results' in document) return peersTables(document as Peers)
  if ('frames' in document) return framesTable((document as { frames: readonly Frames[] }).frames)
  throw new PackratError('RESULTS', `a document with ${Object.keys(document).join(', ')} is of no known benchmark`)
}

function provenance(environment: Environment): string {
  const { at, machine, kernel, node, commit, device, durability, load, gaps, command } = environment
  const time = `${at.slice(0, 16).replace('T', ' ')} UTC`
  // Documents of before it was measured lack it.
  const quiet = (gaps as string | undefined) === undefined ? '' : ` · gaps ${gaps}`
  const software = `Linux ${kernel} · Node.js ${node} · commit ${commit}`
  return `\`${command}\` · ${time} · ${machine} · ${software} · ${device} · class ${durability} · load ${load}${quiet}`
}

/** The first column to the left unless `numbers`, all others to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[], firstIsNumber = false): string {
  const rule = head.map((_, column) => (column === 0 && !firstIsNumber ? '---' : '---:'))
  return [head, rule, ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

function table1Tables({
  rows,
  dataManagementUs,
  roundTripsUs,
}: Table1 & { roundTripsUs?: readonly RoundTrips[] }): string {
  const us = (value: number): string => value.toFixed(2)
  const spread = ({ bestUs, medianUs }: { bestUs: number; medianUs: number }): string =>
    `${us(bestUs)} / ${us(medianUs)}`
  const { paper, conventional, packet } = dataManagementUs
  return [
    table(
      ['µs of CPU time a 1 KB write', 'paper', 'conventional', 'best / median', 'packet', 'best / median'],
      rows.map((row) => [
        row.operation,
        us(row.paperUs),
        us(row.conventionalUs),
        spread(row.conventionalSpread),
        `**${us(row.packetUs)}**`,
        spread(row.packetSpread),
      ]),
    ),
    `Data management: ${us(paper)} µs in the paper, ${us(conventional)} µs conventional, **${us(packet)} µs packet**.`,
    ...(roundTripsUs === undefined
      ? []
      : [
          table(
            ['round trips over TAP, µs', 'median', 'fastest round', 'p99'],
            roundTripsUs.map(({ store, medianUs, fastRoundUs, p99Us }) => [
              store,
              medianUs.toFixed(1),
              fastRoundUs.toFixed(1),
              p99Us.toFixed(0),
            ]),
          ),
        ]),
  ].join('\n\n')
}

function figure2Table({ points }: Figure2): string {
  const alone = (count: number, field: 'requestsPerSecond' | 'meanLatencyUs'): number | undefined =>
    points.find(({ store, connections }) => store === 'discard' && connections === count)?.[field]
  const share = (value: number, whole: number | undefined): string =>
    whole === undefined || whole === 0 ? '' : `${((100 * value) / whole).toFixed(1)} %`
  const row = (point: Figure2Point): string[] => [
    String(point.connections),
    point.store,
    grouped(point.requestsPerSecond),
    `${grouped(point.worstRequestsPerSecond)}–${grouped(point.bestRequestsPerSecond)}`,
    share(point.requestsPerSecond, alone(point.connections, 'requestsPerSecond')),
    point.meanLatencyUs.toFixed(0),
    share(point.meanLatencyUs, alone(point.connections, 'meanLatencyUs')),
    point.p99LatencyUs.toFixed(0),
    point.serverCpuUs.toFixed(1),
  ]
  const head = [
    'connections',
    'store',
    'requests/s',
    'worst–best',
    'of discard',
    'mean µs',
    'of discard',
    'p99 µs',
    'CPU µs',
  ]
  const ordered = points.toSorted((a, b) => a.connections - b.connections)
  return table(head, ordered.map(row), true)
}

function curveTables(curves: readonly Curve[]): string {
  return curves
    .map(({ title, about, xTitle, unit, rounds, points, skipped }) => {
      const names = [...new Set(points.map(({ series }) => series))]
      const places = [...new Set(points.map(({ x }) => x))]
      const digits = unit === 'µs' ? 2 : 0
      const cell = (series: string, x: number): string => {
        const point = points.find((candidate) => candidate.series === series && candidate.x === x)
        if (point === undefined) return ''
        const written = (value: number): string =>
          digits === 0 || value >= 100 ? grouped(value) : value.toFixed(digits)
        return `${written(point.median)} (${written(point.best)}–${written(point.worst)})`
      }
      return [
        `**${title}.** ${about}; ${unit}, median (best–worst) of ${rounds} rounds.`,
        table(
          [xTitle, ...names],
          places.map((x) => [shortNumber(x), ...names.map((series) => cell(series, x))]),
          true,
        ),
        ...skipped.map((reason) => `Left out: ${reason}.`),
      ].join('\n\n')
    })
    .join('\n\n')
}

function storeTable({ windows, reopened }: StoreBench): string {
  const us = (value: number): string => value.toFixed(2)
  const { records, seconds, cpuSeconds, rssBytes } = reopened
  return [
    table(
      ['records', 'new key: stage', 'and commit', 'overwrite', 'read'],
      windows.map((window) => [
        grouped(window.records),
        us(window.newStageUs),
        us(window.newCommitUs),
        us(window.overwriteUs),
        us(window.readUs),
      ]),
      true,
    ),
    `Opened again: ${grouped(records)} records in ${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} s of processor time; memory beside the region ${Math.round(rssBytes / 2 ** 20)} MiB.`,
  ].join('\n\n')
}

/** What scripts/peers.sh prints. */
interface Peers {
  readonly method: string
  readonly bytes: number
  readonly rounds: number
  readonly seconds: number
  readonly results: readonly { readonly connections: number; readonly servers: Readonly<Record<string, Peer>> }[]
  readonly streams: readonly {
    readonly name: string
    readonly streams: number
    readonly offloads: string
    readonly gbits: number
    readonly best: number
    readonly worst: number
    /** Of the rate of `beside` in the same round; neither: what others are compared with. */
    readonly ratio?: number
    readonly beside?: string
  }[]
  readonly skipped: readonly string[]
}

interface Peer {
  readonly requestsPerSecond: number
  readonly bestRequestsPerSecond: number
  readonly worstRequestsPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly cpuUsPerRequest: number
  readonly errors: number
  readonly packratRatios?: { readonly median: number; readonly best: number; readonly worst: number }
}

function peersTables({ method, bytes, rounds, seconds, results, streams, skipped }: Peers): string {
  const requests = results.flatMap(({ connections, servers }) =>
    Object.entries(servers).map(([name, peer]) => [
      String(connections),
      name,
      grouped(peer.requestsPerSecond),
      `${grouped(peer.worstRequestsPerSecond)}–${grouped(peer.bestRequestsPerSecond)}`,
      peer.packratRatios === undefined ? '' : `**${peer.packratRatios.median.toFixed(2)} ×**`,
      peer.packratRatios === undefined
        ? ''
        : `${peer.packratRatios.worst.toFixed(2)}–${peer.packratRatios.best.toFixed(2)}`,
      grouped(peer.p50Us),
      grouped(peer.p99Us),
      peer.cpuUsPerRequest.toFixed(1),
    ]),
  )
  const parts = [
    `${method} of ${bytes} bytes, median of ${rounds} interleaved rounds of ${seconds} s; ratios are of the same round.`,
  ]
  if (requests.length > 0) {
    const head = ['connections', 'server', 'requests/s', 'worst–best', 'Packrat is', 'worst–best', 'p50 µs', 'p99 µs']
    parts.push(table([...head, 'CPU µs/request'], requests, true))
  }
  if (streams.length > 0) {
    const rows = streams.map(({ streams: count, name, offloads, gbits, worst, best, ratio, beside }) => [
      String(count),
      name,
      offloads,
      gbits.toFixed(2),
      `${worst.toFixed(2)}–${best.toFixed(2)}`,
      ratio === undefined ? '' : `**${ratio.toFixed(2)} ×** ${beside}`,
    ])
    parts.push(table(['streams', 'from and to', 'offloads', 'Gbit/s', 'worst–best', 'of'], rows, true))
  }
  return [...parts, ...skipped.map((reason) => `Left out: ${reason}.`)].join('\n\n')
}

/** Frames a second of one round of scripts/xdp-frames/run.sh. */
interface Frames {
  readonly cReceives: number
  readonly deviceReceives: number
  readonly cSends: number
  readonly deviceSends: number
}

function framesTable(rounds: readonly Frames[]): string {
  const rows = rounds.map(({ cReceives, deviceReceives, cSends, deviceSends }, index) => [
    String(index + 1),
    grouped(cReceives),
    grouped(deviceReceives),
    (deviceReceives / cReceives).toFixed(2),
    grouped(cSends),
    grouped(deviceSends),
    (deviceSends / cSends).toFixed(2),
  ])
  const head = ['round', 'C receives', 'Packrat receives', 'ratio', 'C sends', 'Packrat sends', 'ratio']
  return table(head, rows, true)
}

function grouped(value: number): string {
  return Math.round(value).toLocaleString('en')
}
