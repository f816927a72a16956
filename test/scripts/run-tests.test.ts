/** The test runner: whatever a test file does, the last line and the exit status tell the truth about it. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const RUNNER = fileURLToPath(new URL('../../../scripts/run-tests.mjs', import.meta.url))
const RUNNER_TIMEOUT_MS = 30_000
const UVU = JSON.stringify(import.meta.resolve('uvu'))

const folders: string[] = []

test.after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Runs the runner over files made of these texts. */
function runner(files: Record<string, string>, ...flags: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'packrat-runner-'))
  folders.push(folder)
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  const result = spawnSync(process.execPath, [RUNNER, '--directory', folder, ...flags], {
    encoding: 'utf8',
    timeout: RUNNER_TIMEOUT_MS,
  })
  const lines = result.stdout.trimEnd().split('\n')
  return { status: result.status, output: result.stdout, stderr: result.stderr, last: lines.at(-1) }
}

/** A test file with uvu: `good` tests that pass, `bad` that fail. */
function suite(good: number, bad: number, extra = ''): string {
  return `import { test } from ${UVU}
for (let i = 0; i < ${good}; i++) test('good ' + i, () => {})
for (let i = 0; i < ${bad}; i++) test('bad ' + i, () => { throw new Error('reason ' + i) })
${extra}
test.run()`
}

test('passes are summed over files', () => {
  const { status, last } = runner({ 'a.test.mjs': suite(2, 0), 'deep/b.test.mjs': suite(3, 0) })
  assert.is(last, '5 passed, 0 failed, 0 skipped')
  assert.is(status, 0)
})

test('a failure is counted, printed in full, and fails the run', () => {
  const { status, last, output } = runner({ 'a.test.mjs': suite(2, 1) })
  assert.is(last, '2 passed, 1 failed, 0 skipped')
  assert.is(status, 1)
  assert.match(output, /reason 0/)
  assert.match(output, /Failed:\n.*a\.test\.mjs/)
})

test('skips are counted and their reasons repeated at the end', () => {
  const { status, last, output } = runner({
    'a.test.mjs': suite(1, 0, `test.skip('later', () => {}); test('tool', () => console.log('SKIP: no wrk here'))`),
    'b.test.mjs': `console.log('SKIP: no private network')`,
    'c.test.mjs': suite(0, 0, `console.error('SKIPPED c.ts: no TAP'); test.skip(); test.skip()`),
  })
  assert.is(last, '2 passed, 0 failed, 5 skipped')
  assert.is(status, 0)
  const end = output.slice(output.indexOf('Not tested on this machine'))
  for (const reason of [/no wrk here/, /no private network/, /no TAP/]) assert.match(end, reason)
})

test('a crash, a bad exit status and a file without tests are failures', () => {
  for (const [text, reason] of [
    [`throw new Error('at load')`, /exit status 1/],
    [suite(1, 0, `process.on('exit', () => { process.exitCode = 7 })`), /exit status 7/],
    [`process.kill(process.pid, 'SIGSEGV')`, /died of SIGSEGV/],
    ['export {}', /reported no test/],
  ] as const) {
    const { status, last, output } = runner({ 'a.test.mjs': text })
    assert.match(last!, /, 1 failed, 0 skipped$/)
    assert.match(output, reason)
    assert.is(status, 1)
  }
})

test('a file that hangs is ended at its limit with all that it started', () => {
  const started = performance.now()
  const { last, output } = runner({
    'a.test.mjs': `// @timeout 1
import { spawn } from 'node:child_process'
spawn('sleep', ['60'], { stdio: 'inherit' })
setInterval(() => {}, 1000)`,
  })
  assert.is(last, '0 passed, 1 failed, 0 skipped')
  assert.match(output, /ran out of time \(1 s\)/)
  assert.ok(performance.now() - started < 10_000, 'the runner waited for what the file left behind')
})

test('a child left behind by a good file does not hold the runner up', () => {
  const started = performance.now()
  const left = `const { spawn } = await import('node:child_process'); spawn('sleep', ['60'], { stdio: 'inherit' }).unref()`
  const { last } = runner({ 'a.test.mjs': suite(1, 0, left) })
  assert.is(last, '1 passed, 0 failed, 0 skipped')
  assert.ok(performance.now() - started < 10_000)
})

test('files that ask to be alone are not run beside others', () => {
  const folder = mkdtempSync(join(tmpdir(), 'packrat-runner-mark-'))
  folders.push(folder)
  const mark = JSON.stringify(join(folder, 'mark'))
  const alone = `// @alone
import { existsSync, rmSync, writeFileSync } from 'node:fs'
if (existsSync(${mark})) throw new Error('not alone')
writeFileSync(${mark}, '')
await new Promise((done) => setTimeout(done, 200))
rmSync(${mark})
console.log('SKIP: only to be counted')`
  const { last } = runner({ 'a.test.mjs': alone, 'b.test.mjs': alone, 'c.test.mjs': suite(1, 0) })
  assert.is(last, '1 passed, 0 failed, 2 skipped')
})

test('--only selects, --list only lists, and nothing to run is not a success', () => {
  const files = { 'first.test.mjs': suite(1, 0), 'second.test.mjs': suite(0, 1) }
  assert.is(runner(files, '--only', 'first').last, '1 passed, 0 failed, 0 skipped')
  const listed = runner(files, '--list')
  assert.match(listed.output, /first\.test\.mjs.*\n.*second\.test\.mjs/)
  assert.is(listed.status, 0)
  const none = runner(files, '--only', 'third')
  assert.is(none.last, '0 passed, 0 failed, 0 skipped')
  assert.is(none.status, 1)
})

for (const [signal, prefix, ends] of [
  ['SIGTERM', [], true],
  ['SIGHUP', [], true],
  ['SIGHUP', ['nohup'], false],
] as const)
  test(`${[...prefix, signal].join(' and ')}: the files that run ${ends ? 'end with the runner' : 'go on'}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'packrat-runner-signal-'))
    folders.push(folder)
    const file = join(folder, 'pid')
    const text = `import { writeFileSync } from 'node:fs'
writeFileSync(${JSON.stringify(file)}, String(process.pid))
setInterval(() => {}, 1000)`
    writeFileSync(join(folder, 'a.test.mjs'), text)
    const command = [...prefix, process.execPath, RUNNER, '--directory', folder]
    const child = spawn(command[0]!, command.slice(1), { stdio: 'ignore' })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    const isSoon = async (condition: () => boolean, ms: number): Promise<boolean> => {
      for (const end = performance.now() + ms; !condition() && performance.now() < end; )
        await new Promise((resolve) => setTimeout(resolve, 20))
      return condition()
    }
    try {
      assert.ok(await isSoon(() => existsSync(file) && readFileSync(file, 'latin1') !== '', 10_000), 'the file runs')
      const pid = Number(readFileSync(file, 'latin1'))
      child.kill(signal)
      assert.is(await isSoon(() => !existsSync(`/proc/${pid}`), ends ? 5000 : 500), ends)
    } finally {
      child.kill('SIGTERM')
      await ended
    }
  })

test('an unknown flag is wrong usage', () => {
  const { status, stderr } = runner({}, '--fast')
  assert.is(status, 2)
  assert.match(stderr, /--fast/)
})

test.run()
