/**
 * The crash programme at the size of continuous integration: 100,000 distinct images of crashes, and one mutant of the
 * persist programs in four. `npm run crash` runs all mutants.
 *
 * @alone
 * @timeout 900
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { announceSeed } from '../support/random.ts'
import { CI_IMAGES, CI_SEED, runCrashImages, runMutants } from './programme.ts'

const seed = announceSeed('crash images', CI_SEED)
const PROCESSES = 2
const MUTANTS_EVERY = 4
const SURVIVORS_MAX = 0.03

test('every image of a crash at any fence and before any reply keeps what was acknowledged and invents nothing', async () => {
  const result = await runCrashImages({ images: CI_IMAGES, seed, processes: PROCESSES })
  const { images, workloads, judgements, recoveryCrashImages, upgrades, violations } = result
  console.log(`${images} distinct crash images of ${workloads} workloads, ${judgements} judgements`)
  console.log(`${recoveryCrashImages} images of crashes inside recoveries, ${upgrades} upgrades of lines`)
  assert.equal(violations, [])
  assert.ok(images >= CI_IMAGES)
  assert.ok(recoveryCrashImages > 1000)
  assert.ok(upgrades > 1000)
})

test('nearly every operation of a persist program is shown to be needed where it is', async () => {
  const { mutants, survivors } = await runMutants({ seed, processes: PROCESSES, every: MUTANTS_EVERY })
  console.log(`${mutants} mutants, ${mutants - survivors.length} caught`)
  for (const survivor of survivors) console.log(`not caught: ${survivor}`)
  assert.ok(survivors.length <= mutants * SURVIVORS_MAX, 'docs/durability.md says which are known, and why')
  assert.ok(mutants > 150)
})

test.run()
