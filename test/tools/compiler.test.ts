/** The compiler flag that the packet path is run with. */
import { spawnSync } from 'node:child_process'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const MODULE = new URL('../../tools/compiler.js', import.meta.url).href

test('this V8 has the flag, and takes it while the program runs', () => {
  const program = `const { inlineMore } = await import(${JSON.stringify(MODULE)}); inlineMore()`
  const { stderr, status } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  })
  assert.is(stderr, '', 'V8 complains of flags that it does not have')
  assert.is(status, 0)
})

test.run()
