/**
 * The crash programme at the size of continuous integration: over 100,000 distinct images of crashes, and every mutant of the
 * persist programs and of growing. `npm run crash` is the same.
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
/** Every sequence of operations is run however few images are asked for: so many give CI_IMAGES and more. */
const IMAGES_ASKED = 10_000

test('every image of a crash at any fence and before any reply keeps what was acknowledged and invents nothing', async () => {
  const result = await runCrashImages({ images: IMAGES_ASKED, seed, processes: PROCESSES })
  const { images, workloads, judgements, recoveryCrashImages, upgrades, violations } = result
  console.log(`${images} distinct crash images of ${workloads} workloads, ${judgements} judgements`)
  console.log(`${recoveryCrashImages} images of crashes inside recoveries, ${upgrades} upgrades of lines`)
  assert.equal(violations, [])
  assert.ok(images >= CI_IMAGES)
  assert.ok(recoveryCrashImages > 1000)
  assert.ok(upgrades > 1000)
})

test('every flush, fence, seal and order of the persist programs and of growing is needed where it is', async () => {
  const { mutants, survivors, equivalent } = await runMutants({ seed, processes: PROCESSES })
  console.log(
    `${mutants} mutants, ${mutants - survivors.length} caught; ${equivalent.size} changes that change nothing`,
  )
  assert.equal(survivors, [])
  assert.ok(mutants > 1000)
  assert.ok(equivalent.size < mutants / 20)
})

test.run()
