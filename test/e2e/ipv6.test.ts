/**
 * `packrat serve --address6` and the Linux kernel: curl and ping over IPv6, a stranger who has our address already, and
 * flags that cannot be.
 *
 * @timeout 90
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  ADMIN_URL,
  curl,
  type Daemon,
  lacks,
  packrat,
  randomBytes,
  run,
  scratchDirectory,
  send,
  sleep,
  startDaemon,
  untilIdle,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const ADDRESS6 = 'fd77::2'
const KERNEL6 = 'fd77::1'
const URL6 = `http://[${ADDRESS6}]`
const STORE = ['--pm-size', '64M', '--durability', 'process']
const SETTLE_MS_MAX = 10_000

const test = privateNetworkSuite('ipv6', import.meta.url, { timeoutMs: 90_000, missing: lacks('curl', 'ping') })
const random = seededRandom(announceSeed('ipv6', 6))
let directory = ''
let daemon: Daemon

test.before(async () => {
  directory = scratchDirectory()
  daemon = await startDaemon({ region: join(directory, 'ipv6.pm'), flags: [...STORE, '--address6', `${ADDRESS6}/64`] })
  await kernelHasSettled()
})

test.after(async () => {
  if (daemon?.alive) await daemon.stop()
})

/** The kernel looks for duplicates of its own address, too, and speaks from it only then. */
async function kernelHasSettled(): Promise<void> {
  const deadline = performance.now() + SETTLE_MS_MAX
  while ((await run('ip', ['-6', 'address', 'show', 'tentative'])).stdout.length > 0) {
    assert.ok(performance.now() < deadline, 'the kernel has an address of its own')
    await sleep(100)
  }
}

/** Counters of a layer in /stats. */
async function counters(layer: string): Promise<Record<string, number>> {
  const { body } = await send('GET', `${ADMIN_URL}/stats`)
  return JSON.parse(body.toString())[layer]
}

test('the first line names both addresses, and the kernel got its end of the link', async () => {
  assert.match(daemon.readyLine, /^packrat ready http:\/\/10\.77\.0\.2\/ http:\/\/\[fd77::2\]\/ /)
  const { stdout } = await run('ip', ['-6', 'address', 'show', 'dev', 'packrat0'])
  assert.match(stdout.toString(), new RegExp(`inet6 ${KERNEL6}/64 scope global`))
})

test('curl puts over IPv6 and gets over both, values of every size, byte for byte', async () => {
  for (const bytes of [0, 1, 1000, 1428, 100_000, 3 << 20]) {
    const value = Buffer.from(randomBytes(random, bytes))
    const file = join(directory, 'value')
    writeFileSync(file, value)
    const put = await curl('--globoff', '-T', file, `${URL6}/kv/size-${bytes}`, '--write-out', '%{http_code}')
    assert.match(put.stdout.toString(), /20[14]$/, put.stderr)
    for (const base of [URL6, 'http://10.77.0.2']) {
      const { stdout, stderr } = await curl('--globoff', `${base}/kv/size-${bytes}`)
      assert.ok(stdout.equals(value), `${bytes} bytes from ${base}: ${stderr}`)
    }
  }
  const stats = await untilIdle(daemon)
  assert.is(stats.buffers.inFlight, 0, 'every buffer came back')
})

test('ping answers, alone and as one of all nodes', async () => {
  for (const target of [ADDRESS6, 'ff02::1%packrat0'])
    for (const size of ['0', '56', '1400']) {
      const args = ['-6', '-c', '2', '-i', '0.2', '-W', '3', '-s', size, target]
      const { status, stdout } = await run('ping', args)
      assert.is(status, 0, stdout.toString())
    }
  const { echoRequests, echoReplies } = await counters('icmpv6')
  assert.is(echoReplies, echoRequests)
  assert.ok(echoReplies! >= 12, 'all nodes are two here')
})

test('a port that nobody has is refused, over TCP and over UDP', async () => {
  const { status } = await curl('--globoff', `http://[${ADDRESS6}]:81/`)
  assert.is(status, 7, 'curl: could not connect')
  const { errorsSent } = await counters('icmpv6')
  await run('bash', ['-c', `for n in 1 2 3; do echo hello > /dev/udp/${ADDRESS6}/9; sleep 0.1; done`])
  assert.ok((await counters('icmpv6')).errorsSent! > errorsSent!, 'port unreachable')
})

test('the kernel finds us by asking, and so do we find the kernel', async () => {
  const neighbours = await run('ip', ['-6', 'neighbour', 'show', ADDRESS6])
  assert.match(neighbours.stdout.toString(), /lladdr 02:70:6b:/)
  const { solicitationsReceived, dropMalformed, dropHopLimit } = await counters('ndp')
  assert.ok(solicitationsReceived! > 0)
  assert.equal([dropMalformed, dropHopLimit], [0, 0])
})

test('somebody else has the address: it is not used, and the daemon says so and serves over IPv4', async () => {
  await run('ip', ['tuntap', 'add', 'packrat6', 'mode', 'tap'])
  await run('ip', ['address', 'add', 'fd66::2/64', 'dev', 'packrat6', 'nodad'])
  await run('ip', ['link', 'set', 'packrat6', 'up'])
  const other = await startDaemon({
    region: join(directory, 'duplicate.pm'),
    flags: [
      ...[...STORE, '--device', 'tap:packrat6', '--address', '10.66.0.2/24', '--host-address', '10.66.0.1/24'],
      ...['--address6', 'fd66::2/64', '--host-address6', 'none', '--admin', '127.0.0.1:9178'],
    ],
  })
  try {
    assert.match(other.readyLine, /^packrat ready http:\/\/10\.66\.0\.2\/ device=/)
    assert.match(other.stderr, /DUPLICATE ADDRESS: another station on the link has fd66::2/)
    assert.is((await send('GET', 'http://10.66.0.2/stats')).status, 200)
  } finally {
    await other.stop()
  }
})

test('a kernel without IPv6 is named as such', async () => {
  await run('sysctl', ['-q', '-w', 'net.ipv6.conf.default.disable_ipv6=1'])
  const region = join(directory, 'off.pm')
  const flags = ['--device', 'tap:packrat7', '--host-address', 'none', '--admin', 'none', '--address6', 'fd67::2/64']
  const { status, stderr } = await packrat('serve', '--pm', region, ...STORE, ...flags)
  await run('sysctl', ['-q', '-w', 'net.ipv6.conf.default.disable_ipv6=0'])
  assert.is(status, 3)
  assert.match(stderr, /cannot set the IPv6 address fd67::1\/64: IPv6 is switched off in the kernel; .*disable_ipv6=0/)
})

const wrong: [string[], RegExp][] = [
  [['--address6', 'fd77::2'], /--address6: "fd77::2" is no IPv6 address with the length/],
  [['--address6', 'ff02::2/64'], /--address6: "ff02::2\/64" cannot be used: a station can only have a unicast address/],
  [['--address6', 'fd77::1/64'], /--host-address6: "fd77::1\/64" is the address of --address6/],
  [['--address6', 'fd77::2/64', '--mtu', '1000'], /--mtu 1000 is too small for --address6/],
  [['--address6', 'fd77::2/64', '--gateway6', 'fd78::1'], /--gateway6: /],
  [['--gateway6', 'fd77::1'], /--gateway6 needs an address of Packrat's own/],
  [['--host-address6', 'fd77::1/64'], /--host-address6 needs an address of Packrat's own/],
]

for (const [flags, reason] of wrong)
  test(`refused: ${flags.join(' ')}`, async () => {
    const { status, stderr } = await packrat('serve', '--pm', join(directory, 'never.pm'), ...flags)
    assert.is(status, 2)
    assert.match(stderr, reason)
    assert.is(stderr.trim().split('\n').length, 1)
  })

test.run()
