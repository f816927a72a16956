/**
 * What the daemon must refuse, and how: one clear line on standard error, exit status 3, nothing changed on disk and
 * no interface left behind.
 *
 * @timeout 120
 */
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { FORMAT_VERSION, HEADER_BYTES } from '../../storage/layout.ts'
import {
  type Daemon,
  fileHash,
  keyUrl,
  lacks,
  type Outcome,
  PACKRAT_ADDRESS,
  PACKRAT_PROGRAM,
  packrat,
  randomBytes,
  run,
  scratchDirectory,
  send,
  startDaemon,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

/** Offset of the format version in each header copy (docs/format.md). */
const HEADER_VERSION_OFFSET = 8
/** `nobody`: may do nothing. */
const NOBODY = '65534'
const REFUSAL_TIMEOUT_MS = 15_000
/** Another interface, network and port than those of a daemon that runs already. */
const APART = [
  ...['--device', 'tap:packrat1', '--address', '10.78.0.2/24', '--host-address', '10.78.0.1/24'],
  ...['--admin', '127.0.0.1:9178', '--durability', 'process'],
]

const test = privateNetworkSuite('refusals', import.meta.url, { timeoutMs: 120_000, missing: lacks() })

const random = seededRandom(announceSeed('refusals', 3))
let directory = ''

test.before(() => {
  directory = scratchDirectory()
  chmodSync(directory, 0o755) // `nobody` must reach the files that it may not open
})

function serveArguments(region: string, ...flags: string[]): string[] {
  return [PACKRAT_PROGRAM, 'serve', '--pm', region, ...APART, ...flags]
}

function serve(region: string, ...flags: string[]): Promise<Outcome> {
  return run(process.execPath, serveArguments(region, ...flags), { timeoutMs: REFUSAL_TIMEOUT_MS })
}

/** A region as a daemon leaves it. */
async function makeRegion(name: string): Promise<string> {
  const region = join(directory, name)
  const daemon = await startDaemon({ region, flags: ['--pm-size', '16M', '--durability', 'process'] })
  await daemon.stop()
  return region
}

async function assertRefused(outcome: Outcome, why: RegExp): Promise<void> {
  const lines = outcome.stderr.split('\n').filter((line) => line.trim() !== '')
  assert.is(lines.length, 1, `not one line: ${outcome.stderr}`)
  assert.match(lines[0]!, why)
  assert.is(outcome.status, 3, lines[0])
  assert.not.match(outcome.stdout.toString(), /packrat ready/)
  const links = await run('ip', ['-oneline', 'link', 'show'])
  assert.not.match(links.stdout.toString(), /packrat1/, 'an interface was left behind')
}

test('a region that another daemon uses', async () => {
  const region = join(directory, 'used.pm')
  const daemon: Daemon = await startDaemon({ region, flags: ['--pm-size', '16M', '--durability', 'process'] })
  try {
    // Stopped, so that no frame from the link changes the file meanwhile; its lock stays.
    process.kill(daemon.pid, 'SIGSTOP')
    const before = fileHash(region)
    const outcome = await serve(region)
    const after = fileHash(region)
    process.kill(daemon.pid, 'SIGCONT')
    await assertRefused(outcome, /in use|another process/)
    assert.is(after, before)
    assert.ok(daemon.alive)
    assert.is((await daemon.stats()).records, 0)
  } finally {
    await daemon.stop()
  }
})

test('a start that fails leaves no region of its own behind', async () => {
  const region = join(directory, 'never.pm')
  for (const [status, ...flags] of [
    [2, '--device', 'nothing'],
    [2, '--mac', '02'],
    [2, '--admin', 'nowhere'],
    [3, '--admin', '192.0.2.1:9177'],
    [3, '--device', 'xdp:nothing'],
    [3, '--durability', 'dax'],
  ] as const) {
    assert.is((await serve(region, '--pm-size', '16M', ...flags)).status, status, flags.join(' '))
    assert.not.ok(existsSync(region), flags.join(' '))
  }
  const old = await makeRegion('old.pm')
  assert.is((await serve(old, '--mac', '02')).status, 2)
  assert.ok(existsSync(old), 'a region that was there stays')
})

test('a truncated region', async () => {
  const region = await makeRegion('truncated.pm')
  for (const bytes of [statSync(region).size - 1, 1 << 20, 8192, 4096, 100]) {
    truncateSync(region, bytes)
    const before = fileHash(region)
    await assertRefused(await serve(region), /truncated|not a Packrat region/)
    assert.is(fileHash(region), before)
    assert.is(statSync(region).size, bytes)
  }
})

test('a region that something was appended to', async () => {
  const region = await makeRegion('longer.pm')
  writeFileSync(region, 'more', { flag: 'a' })
  const before = fileHash(region)
  await assertRefused(await serve(region), /bytes|length/)
  assert.is(fileHash(region), before)
})

test('a file that is no region', async () => {
  for (const [name, content] of [
    ['random.bin', randomBytes(random, 1 << 20)],
    ['zeros.bin', new Uint8Array(1 << 20)],
    ['letter.txt', Buffer.from('Dear reader,\n')],
  ] as const) {
    const file = join(directory, name)
    writeFileSync(file, content)
    await assertRefused(await serve(file), /not a Packrat region/)
    assert.ok(readFileSync(file).equals(content), `${name} was changed`)
  }
})

test('a region of a foreign format version', async () => {
  const region = await makeRegion('foreign.pm')
  const bytes = readFileSync(region)
  for (const header of [0, HEADER_BYTES]) bytes.writeUInt32LE(FORMAT_VERSION + 1, header + HEADER_VERSION_OFFSET)
  writeFileSync(region, bytes)
  const before = fileHash(region)
  await assertRefused(await serve(region), new RegExp(`format version ${FORMAT_VERSION + 1}`))
  assert.is(fileHash(region), before)
})

test('a directory', async () => {
  await assertRefused(await serve(directory), /directory|regular file/)
})

test('a folder that does not exist', async () => {
  const region = join(directory, 'no-such-folder', 'x.pm')
  await assertRefused(await serve(region), /no such|does not exist/i)
  assert.not(existsSync(join(directory, 'no-such-folder')))
})

test('a full disk at creation leaves no file', async () => {
  // A mount namespace of its own, so that the small file system ends with the shell.
  const script = 'mount -t tmpfs -o size=4m tmpfs "$1" || exit 99; shift; "$@"; status=$?; ls -A "$0"; exit $status'
  const mountPoint = scratchDirectory()
  const region = join(mountPoint, 'full.pm')
  const outcome = await run(
    'unshare',
    ['-m', 'sh', '-c', script, mountPoint, mountPoint, process.execPath, ...serveArguments(region, '--pm-size', '64M')],
    { timeoutMs: REFUSAL_TIMEOUT_MS },
  )
  if (outcome.status === 99) {
    console.log('SKIP: full disk at creation: tmpfs cannot be mounted here')
    return
  }
  await assertRefused(outcome, /space|full/)
  assert.is(outcome.stdout.toString().trim(), '', 'files were left behind')
})

/** Runs as `nobody`, with or without the capability to make an interface. */
function asNobody(capable: boolean, args: string[]): Promise<Outcome> {
  const identity = ['--reuid', NOBODY, '--regid', NOBODY, '--clear-groups']
  const capabilities = capable ? ['--inh-caps', '+net_admin', '--ambient-caps', '+net_admin'] : []
  return run('setpriv', [...identity, ...capabilities, process.execPath, ...args], { timeoutMs: REFUSAL_TIMEOUT_MS })
}

/** Why `nobody` cannot run the daemon at all here. */
async function nobodyLacks(): Promise<string | undefined> {
  try {
    const { status, stderr } = await asNobody(true, [PACKRAT_PROGRAM, 'serve', '--help'])
    return status === 0 ? undefined : stderr.trim().split('\n').at(-1)
  } catch (error) {
    return (error as Error).message
  }
}

test('a region that one may not open, and an interface that one may not make', async () => {
  const region = await makeRegion('private.pm')
  chmodSync(region, 0o600)
  const before = fileHash(region)
  const lacking = await nobodyLacks()
  if (lacking !== undefined) {
    console.log(`SKIP: no permission: the daemon cannot be run as another user here (${lacking})`)
    return
  }
  await assertRefused(await asNobody(true, serveArguments(region)), /permission/i)
  assert.is(fileHash(region), before)
  chmodSync(region, 0o666)
  await assertRefused(await asNobody(false, serveArguments(region)), /CAP_NET_ADMIN|may not be opened/)
})

test('wrong usage is status 2, not 3', async () => {
  const { status, stderr } = await run(process.execPath, [PACKRAT_PROGRAM, 'serve', '--no-such-flag'])
  assert.is(status, 2)
  assert.match(stderr, /--no-such-flag/)
})

test('flags with values that cannot be are status 2, and nothing is created', async () => {
  const region = join(scratchDirectory(), 'refused.pm')
  for (const [flags, reason] of [
    [['--device', 'eth0'], /write tap:NAME/],
    [['--device', 'tap:longer-than-15-bytes'], /1 to 15 characters/],
    [['--device', 'xdp:lo:3-1'], /queue '3-1' of --device is none/],
    [['--mac', '02:00:00:00:00'], /no Ethernet address/],
    [['--mac', '03:00:00:00:00:01'], /multicast/],
    [['--address', '10.78.0.2'], /--address '10.78.0.2' is refused/],
    ...['10.78.0.0/24', '10.78.0.255/24', '0.0.0.0/0', '127.0.0.1/8', '224.0.0.1/24', '10.78.0.2/33'].map(
      (address) => [['--address', address], /that a station can have/] as const,
    ),
    [['--host-address', '10.78.0.1'], /--host-address '10.78.0.1' is refused/],
    [['--gateway', 'router'], /--gateway 'router' is refused/],
    [['--host-address', '10.78.0.2/24'], /give both ends one of their own/],
    [['--admin', '127.0.0.1'], /--admin '127.0.0.1' is refused/],
    [['--admin', '127.0.0.1:0'], /such as 127.0.0.1:9177/],
    [['--admin', '127.0.0.1:http'], /such as 127.0.0.1:9177/],
    [['--http-port', '5201'], /--http-port and --iperf-port are both 5201/],
    [['--capture', region], /is the region itself/],
  ] as const) {
    const { status, stderr } = await serve(region, ...flags)
    assert.is(status, 2, `${flags.join(' ')}: ${stderr}`)
    assert.match(stderr, reason)
    assert.is(stderr.trim().split('\n').length, 1, 'one line')
    assert.not(existsSync(region), `${flags.join(' ')}: a region was created`)
  }
})

test('so are those of iperf3 and wire', async () => {
  for (const argv of [
    ['iperf3', '-c', 'localhost'],
    ['iperf3', '-c', '10.78.0.1', '--address', '10.78.0.255/24'],
    ['iperf3', '-c', '10.78.0.1', '--host-address', 'some'],
    ['iperf3', '-c', '10.78.0.1', '--device', 'tap:longer-than-15-bytes'],
    ['wire', '--left-address', '10.78.0.1'],
    ['wire', '--left', 'tap:a/b'],
  ]) {
    const { status, stderr } = await packrat(...argv)
    assert.is(status, 2, `${argv.join(' ')}: ${stderr}`)
    assert.is(stderr.trim().split('\n').length, 1, 'one line')
  }
})

test('a capture into the region is refused, by whatever name, and the region is as it was', async () => {
  const region = await makeRegion('captured.pm')
  const before = fileHash(region)
  const link = join(directory, 'a-link.pcapng')
  symlinkSync(region, link)
  for (const name of [region, link, join(directory, '.', 'captured.pm')]) {
    const { status, stderr } = await serve(region, '--capture', name)
    assert.is(status, 2, stderr)
    assert.match(stderr, /is the region itself; name another file/)
    assert.is(fileHash(region), before)
  }
})

test('an interface deleted under the daemon ends it with one line, and the region is closed in order', async () => {
  const region = join(directory, 'gone.pm')
  const capture = join(directory, 'gone.pcapng')
  const flags = ['--pm-size', '16M', '--durability', 'process', '--capture', capture]
  const daemon = await startDaemon({ region, flags })
  await send('PUT', keyUrl('a'), { body: Buffer.from('x') })
  // A connection that is open: it would have to be told of the end.
  const socket = connect(80, PACKRAT_ADDRESS)
  await once(socket, 'connect')
  await run('ip', ['link', 'del', 'packrat0'])
  assert.equal(await daemon.ending(), { status: 3, signal: null })
  socket.destroy()
  assert.match(daemon.stderr, /^packrat serve: tap:packrat0 was deleted by another program[^\n]*\n$/)
  const { stdout } = await packrat('inspect', region, '--json')
  assert.ok(JSON.parse(stdout.toString()).cleanShutdown)
  assert.ok(statSync(capture).size > 500, 'the capture was written to its end')
})

test('offloads and steering that cannot be are refused with what to do', async () => {
  const region = join(scratchDirectory(), 'refused.pm')
  for (const [flags, reason] of [
    [['--offload', 'some'], /auto, none, checksum, all/],
    [['--offload', 'all', '--impair', 'loss=1%'], /leave one of them out/],
    [['--offload', 'checksum', '--device', 'xdp:lo'], /is for TAP/],
    [['--steer', '3-1'], /auto, none, or a list of processors/],
    [['--steer', '0', '--device', 'xdp:lo'], /is for TAP/],
  ] as const) {
    const { status, stderr } = await serve(region, ...flags)
    assert.is(status, 2, stderr)
    assert.match(stderr, reason)
    assert.is(stderr.trim().split('\n').length, 1, 'one line')
  }
})

test.run()
