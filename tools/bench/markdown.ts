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
  throw new PackratError('RESULTS', `a document with ${Object.keys(document).join(', ')} is of no known benchmark`)
}

function provenance({ at, machine, kernel, node, commit, device, durability, load, command }: Environment): string {
  return `\`${command}\` · ${at.slice(0, 16).replace('T', ' ')} UTC · ${machine} · Linux ${kernel} · Node.js ${node} · commit ${commit} · ${device} · class ${durability} · load ${load}`
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

function grouped(value: number): string {
  return Math.round(value).toLocaleString('en')
}
