/** What a comparison prints and draws. Called by: peers.mjs. The charts are those of packrat bench. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { drawLineChart } from '../../dist/tools/bench/line-chart.js'
import { quantile } from '../../dist/tools/bench/statistics.js'
import { PEERS } from './servers.mjs'

const round = (value, digits) => Number(value.toFixed(digits))

/** Medians over the rounds with the best and the worst; ratios are of the same round. */
export function summarize(samples, packrat, nginx) {
  const at = (share, field) =>
    quantile(
      samples.map((sample) => sample[field]),
      share,
    )
  const ratios = (over, other) => {
    if (other === undefined || other === samples) return undefined
    const all = samples.map((sample, index) => over(sample, other[index]))
    return { median: round(quantile(all, 0.5), 3), best: round(quantile(all, 1), 3), worst: round(quantile(all, 0), 3) }
  }
  const rate = 'requestsPerSecond'
  const packratRatios = ratios((own, theirs) => theirs[rate] / own[rate], packrat)
  return {
    requestsPerSecond: Math.round(at(0.5, rate)),
    bestRequestsPerSecond: Math.round(at(1, rate)),
    worstRequestsPerSecond: Math.round(at(0, rate)),
    p50Us: round(at(0.5, 'p50Us'), 0),
    p99Us: round(at(0.5, 'p99Us'), 0),
    cpuUsPerRequest: round(at(0.5, 'cpuUsPerRequest'), 2),
    errors: samples.reduce((sum, sample) => sum + sample.errors, 0),
    packratRatio: packratRatios?.median,
    packratRatios,
    nginxRatio: ratios((own, theirs) => own[rate] / theirs[rate], nginx)?.median,
  }
}

/** @param other the samples that these are compared with, round by round */
export function summarizeStreams(samples, other) {
  const ratios = other?.map((value, index) => samples[index] / value)
  return {
    gbits: round(quantile(samples, 0.5), 2),
    best: round(quantile(samples, 1), 2),
    worst: round(quantile(samples, 0), 2),
    ratio: ratios && round(quantile(ratios, 0.5), 3),
  }
}

export function printTables({ environment, method, bytes, rounds, seconds, results, streams, skipped }) {
  console.log(`${method} of ${bytes} bytes; median of ${rounds} rounds of ${seconds} s\n`)
  const times = (ratios) => (ratios ? `${ratios.median.toFixed(2)} x` : '')
  const spread = (ratios) => (ratios ? `${ratios.worst.toFixed(2)}-${ratios.best.toFixed(2)}` : '')
  const rows = results.flatMap(({ connections, servers }) =>
    Object.entries(servers).map(([name, row]) => [
      connections,
      name,
      row.requestsPerSecond,
      times(row.packratRatios),
      spread(row.packratRatios),
      row.p50Us,
      row.p99Us,
      row.cpuUsPerRequest.toFixed(2),
      row.errors || '',
    ]),
  )
  if (rows.length > 0)
    print([
      ['connections', 'server', 'requests/s', 'packrat is', 'worst-best', 'p50 us', 'p99 us', 'CPU us/req', 'errors'],
      ...rows,
    ])
  if (streams.length > 0) {
    console.log()
    const head = ['streams', 'from and to', 'offloads', 'Gbit/s', 'worst-best', 'ratio', 'of']
    const cells = ({ streams: count, name, offloads, gbits, worst, best, ratio, beside }) => [
      count,
      name,
      offloads,
      gbits,
      `${worst}-${best}`,
      ratio === undefined ? '' : `${ratio.toFixed(2)} x`,
      beside ?? '',
    ]
    print([head, ...streams.map(cells)])
  }
  for (const reason of skipped) console.log(`SKIP: ${reason}`)
  console.log()
  for (const [name, value] of Object.entries(environment)) console.log(`${name.padEnd(11)} ${value}`)
}

function print(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)))
  for (const row of rows) {
    console.log(
      row
        .map((cell, i) => String(cell)[i === 1 ? 'padEnd' : 'padStart'](widths[i]))
        .join('  ')
        .trimEnd(),
    )
  }
}

export function drawPictures(folder, { method, bytes, results }) {
  mkdirSync(folder, { recursive: true })
  if (results.length === 0) return
  const names = Object.keys(results[0].servers)
  const picture = drawLineChart({
    title: `${method} of ${bytes} bytes: Packrat and its peers`,
    about: 'server on one core, client on the other; medians over the rounds',
    xTitle: 'connections',
    yTitle: 'requests/s',
    scale: 'linear',
    format: (value) => Math.round(value).toLocaleString('en'),
    categories: results.map(({ connections }) => String(connections)),
    series: names.map((name) => ({
      name,
      colour: PEERS[name].colour,
      values: results.map(({ servers }) => servers[name].requestsPerSecond),
    })),
  })
  writeFileSync(join(folder, `peers-${method.toLowerCase()}.svg`), picture)
}
