/**
 * The crash programme as a command: crash images and mutants, to one JSON document or a summary. docs/durability.md.
 *
 *   npm run crash -- [--json] [--images N] [--seed S] [--processes P]
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { CI_IMAGES, CI_SEED, runCrashImages, runMutants } from './programme.ts'

const PROCESSES = 2

function readWhole(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  if (/^[0-9]{1,9}$/.test(text)) return Number(text)
  console.error(`crash: --${name} ${text}: not a whole number`)
  process.exit(2)
}

function readFlags(): { json?: boolean; images?: string; seed?: string; processes?: string } {
  try {
    const text = { type: 'string' } as const
    return parseArgs({ options: { json: { type: 'boolean' }, images: text, seed: text, processes: text } }).values
  } catch (error) {
    console.error(`crash: ${(error as Error).message}`)
    process.exit(2)
  }
}

async function main(): Promise<void> {
  const flags = readFlags()
  const seed = readWhole('seed', flags.seed, CI_SEED)
  const images = readWhole('images', flags.images, CI_IMAGES)
  const processes = Math.max(1, readWhole('processes', flags.processes, Math.min(PROCESSES, availableParallelism())))
  const onProgress = (text: string): void => console.error(text)
  const crashed = await runCrashImages({ images, seed, processes, onProgress })
  const mutated = await runMutants({ seed, processes, onProgress })
  for (const violation of crashed.violations) console.error(`violation: ${violation}`)
  for (const survivor of mutated.survivors) console.error(`not caught: ${survivor}`)
  const reasons = [...mutated.equivalent.values()]
  for (const reason of new Set(reasons))
    console.error(`no mutants: ${reasons.filter((other) => other === reason).length} changes: ${reason}`)
  const caught = mutated.mutants - mutated.survivors.length
  if (flags.json) {
    const { recoveryCrashImages } = crashed
    const violations = crashed.violations.length
    console.log(
      JSON.stringify({
        images: crashed.images,
        violations,
        recoveryCrashImages,
        mutants: mutated.mutants,
        caught,
        seed,
      }),
    )
  } else {
    console.log(
      `${crashed.images} distinct crash images of ${crashed.workloads} workloads, ${crashed.judgements} judgements,`,
    )
    console.log(
      `${crashed.recoveryCrashImages} images of crashes inside recoveries: ${crashed.violations.length} violations`,
    )
    console.log(`${mutated.mutants} mutants of persist programs and of growing: ${caught} caught (seed ${seed})`)
  }
  if (crashed.violations.length > 0 || mutated.survivors.length > 0) process.exitCode = 1
}

await main()
