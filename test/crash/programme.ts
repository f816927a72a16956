/**
 * The crash programme: shares the plan between processes and adds up what they found.
 *
 *   runCrashImages ─► N worker threads, each: plan.ts ─► workload.ts           (this module is also the workers' entry)
 *   runMutants     ─► N worker threads, each: hunt.ts ─► workload.ts;  grow-mutants.ts
 *
 * Called by: run.ts (`npm run crash`), crash-images.test.ts.
 */
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { huntGrowMutant, surveyGrowMutants } from './grow-mutants.ts'
import { hunt, surveyMutants } from './hunt.ts'
import { fixedWorkloads, randomWorkloads, type Share } from './plan.ts'
import { runWorkload, Tally, type Workload, workloadName } from './workload.ts'

/** What continuous integration runs. */
export const CI_IMAGES = 100_000
export const CI_SEED = 20211110

/** Faults that one process reports before it gives up. */
const FAULTS_MAX = 10
/** Images that two processes have in common: a share aims so much higher. */
const OVERLAP = 1.02
const PROGRESS_MS = 10_000

interface ShareResult {
  readonly hashes: Float64Array
  readonly workloads: number
  readonly judgements: number
  readonly recoveryCrashImages: number
  readonly upgrades: number
  /** One line for each workload that failed. */
  readonly faults: readonly string[]
}

export interface CrashResult {
  /** Distinct images judged. */
  readonly images: number
  readonly workloads: number
  /** Images judged, each with what could be expected of it; the same bytes may be expected of different replies. */
  readonly judgements: number
  readonly recoveryCrashImages: number
  readonly upgrades: number
  readonly violations: readonly string[]
}

export interface CrashOptions {
  readonly images: number
  readonly seed: number
  readonly processes: number
  readonly onProgress?: (text: string) => void
}

export interface MutantResult {
  /** Mutants of the persist programs, and of growing. */
  readonly mutants: number
  readonly survivors: readonly string[]
  /** Changes that are no mutants, because they change nothing; and why. */
  readonly equivalent: ReadonlyMap<string, string>
}

type Task =
  | { readonly kind: 'images'; readonly share: Share }
  | { readonly kind: 'mutants'; readonly share: Omit<Share, 'images'> }

/** Runs all mutants. */
export async function runMutants(options: Omit<CrashOptions, 'images'>): Promise<MutantResult> {
  const { seed, processes, onProgress } = options
  const shares = Array.from({ length: processes }, (_, process) =>
    runTask<MutantResult>({ kind: 'mutants', share: { seed, process, processes } }, onProgress),
  )
  const results = await Promise.all(shares)
  return {
    mutants: results.reduce((sum, { mutants }) => sum + mutants, 0),
    survivors: results.flatMap(({ survivors }) => survivors),
    equivalent: results[0]!.equivalent,
  }
}

/** Runs the crash images of a whole run. */
export async function runCrashImages(options: CrashOptions): Promise<CrashResult> {
  const { images, seed, processes, onProgress } = options
  const shares = Array.from({ length: processes }, (_, process) =>
    runTask<ShareResult>({ kind: 'images', share: { images, seed, process, processes } }, onProgress),
  )
  const results = await Promise.all(shares)
  const hashes = new Set<number>()
  for (const result of results) for (const hash of result.hashes) hashes.add(hash)
  const sum = (pick: (result: ShareResult) => number): number => results.reduce((total, one) => total + pick(one), 0)
  return {
    images: hashes.size,
    workloads: sum(({ workloads }) => workloads),
    judgements: sum(({ judgements }) => judgements),
    recoveryCrashImages: sum(({ recoveryCrashImages }) => recoveryCrashImages),
    upgrades: sum(({ upgrades }) => upgrades),
    violations: results.flatMap(({ faults }) => faults),
  }
}

function runTask<Result>(task: Task, onProgress: CrashOptions['onProgress']): Promise<Result> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: task })
    worker.on('message', (message: string | Result) => {
      if (typeof message === 'string') onProgress?.(message)
      else resolve(message)
    })
    worker.on('error', reject)
    worker.on('exit', (code) => reject(new Error(`a worker ended with status ${code} before it was through`)))
  })
}

function runShareOfMutants(share: Omit<Share, 'images'>, tell: (text: string) => void): MutantResult {
  const { seed, process, processes } = share
  const isMine = (_: unknown, i: number): boolean => i % processes === process
  const survey = surveyMutants(seed)
  const mutants = survey.mutants.filter(isMine)
  const tally = new Tally()
  const survivors: string[] = []
  let told = performance.now()
  for (const [i, mutant] of mutants.entries()) {
    if (hunt(mutant, tally) === '') survivors.push(`${mutant.place}: ${mutant.change}`)
    if (performance.now() - told < PROGRESS_MS) continue
    told = performance.now()
    tell(`process ${process}: ${i + 1} of ${mutants.length} mutants, ${survivors.length} survived`)
  }
  const growing = surveyGrowMutants().filter(isMine)
  for (const mutant of growing) if (huntGrowMutant(mutant, seed) === '') survivors.push(mutant.name)
  return { mutants: mutants.length + growing.length, survivors, equivalent: survey.equivalent }
}

function runShareOfImages(share: Share, tell: (text: string) => void): ShareResult {
  const tally = new Tally()
  const faults: string[] = []
  let workloads = 0
  let told = performance.now()
  const run = (workload: Workload): void => {
    const fault = runWorkload(workload, tally)
    workloads++
    if (fault !== '') faults.push(`${workloadName(workload)}: ${fault}`)
    if (performance.now() - told < PROGRESS_MS) return
    told = performance.now()
    tell(`process ${share.process}: ${workloads} workloads, ${tally.images.size} distinct images`)
  }
  for (const workload of fixedWorkloads(share)) if (faults.length < FAULTS_MAX) run(workload)
  const target = (share.images / share.processes) * OVERLAP
  for (const workload of randomWorkloads(share)) {
    if (faults.length >= FAULTS_MAX || tally.images.size >= target) break
    run(workload)
  }
  return {
    hashes: Float64Array.from(tally.images),
    workloads,
    judgements: tally.judgements,
    recoveryCrashImages: tally.recoveryCrashImages,
    upgrades: tally.upgrades,
    faults,
  }
}

if (!isMainThread && parentPort !== null) {
  const port = parentPort
  const task = workerData as Task
  const tell = (text: string): void => port.postMessage(text)
  if (task.kind === 'images') port.postMessage(runShareOfImages(task.share, tell))
  else port.postMessage(runShareOfMutants(task.share, tell))
}
