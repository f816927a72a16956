/** What a result was measured on, so that it can be judged and repeated. Called by: command.ts, store.ts, scripts/peers. */
import { spawnSync } from 'node:child_process'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { describeGaps, measureGaps } from './gaps.ts'

const GAPS_MS = 500

export interface Environment {
  readonly at: string
  readonly machine: string
  readonly kernel: string
  readonly node: string
  /** Of the sources; 'unknown' outside a checkout. '+' behind it: with changes. */
  readonly commit: string
  readonly device: string
  readonly durability: string
  /** Load averages of 1, 5 and 15 minutes when it began: other work makes figures worse. */
  readonly load: string
  /** Gaps in a loop that only read the clock for half a second: what the machine takes away from whoever runs on it. */
  readonly gaps: string
  readonly command: string
}

/** @param command what repeats it; by default the command line of this process, as `packrat` */
export function describeEnvironment(
  device: string,
  durability: string,
  command = ['packrat', ...process.argv.slice(2)].join(' '),
): Environment {
  return {
    at: new Date().toISOString(),
    machine: `${availableParallelism()} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    node: process.version,
    commit: commit(),
    device,
    durability,
    load: loadavg()
      .map((load) => load.toFixed(1))
      .join(' '),
    gaps: describeGaps(measureGaps(GAPS_MS)),
    command,
  }
}

function commit(): string {
  const git = (...args: string[]): string => {
    const { stdout, status } = spawnSync('git', ['-C', fileURLToPath(new URL('.', import.meta.url)), ...args], {
      encoding: 'utf8',
    })
    return status === 0 ? stdout.trim() : ''
  }
  const hash = git('rev-parse', '--short', 'HEAD')
  if (hash === '') return 'unknown'
  return git('status', '--porcelain', '--untracked-files=no') === '' ? hash : `${hash}+`
}
