/** `packrat packetdrill` as a command: what it prints, its exit status, and that no text makes it stumble. Prints its seed. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { packetdrill } from '../../tools/packetdrill/packetdrill.ts'
import { parseScript } from '../../tools/packetdrill/parse-script.ts'
import { runPython, type Variables } from '../../tools/packetdrill/python.ts'
import { runScript } from '../../tools/packetdrill/run-script.ts'
import type { CallAction, PacketAction } from '../../tools/packetdrill/script.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('packetdrill-command', 7)
const MUTILATED = 400
const FOLDER = new URL('../../../test/packetdrill/', import.meta.url)
const silent = () => {}

const folder = mkdtempSync(join(tmpdir(), 'packrat-packetdrill-'))
test.after(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

/** Exit status and standard output. */
async function run(...argv: string[]): Promise<[number, string]> {
  const lines: string[] = []
  const { log, error } = console
  console.log = (line: string) => void lines.push(line)
  console.error = console.log
  try {
    return [await packetdrill(argv), lines.join('\n')]
  } finally {
    Object.assign(console, { log, error })
  }
}

const good = file('good.pkt', '0 < S 0:0(0) win 100\n+0 > R. 0:0(0) ack 1\n')
const bad = file('bad.pkt', '0 < S 0:0(0) win 100\n+0 > R. 0:0(0) ack 2\n')
const other = file('other.pkt', '0 splice(3, ..., 4, ..., 10, 0) = 10\n')
const broken = file('broken.pkt', '0 < S 0:0(1) win 100\n')

test('--json says which list each script is in, and nothing else', async () => {
  const missing = join(folder, 'missing.pkt')
  const [status, output] = await run('--json', good, bad, other, broken, missing)
  const report = JSON.parse(output)
  assert.is(status, 1)
  assert.equal(Object.keys(report), ['passed', 'failed', 'unsupported', 'error'])
  assert.equal(report.passed, [{ script: good }])
  assert.is(report.failed[0].script, bad)
  assert.is(report.failed[0].line, 2)
  assert.match(report.failed[0].reason, 'ack: expected 2, got 1')
  assert.equal(report.unsupported, [{ script: other, line: 1, reason: 'the call splice' }])
  assert.equal(
    report.error.map((entry: { script: string }) => entry.script),
    [broken, missing],
  )
})

test('the status is 0 for passed and unsupported, 1 for failed, 2 for wrong usage', async () => {
  assert.is((await run(good, other))[0], 0)
  assert.is((await run(bad))[0], 1)
  assert.is((await run())[0], 2)
  assert.is((await run('--jason', good))[0], 2)
})

test('options of the command line stand above those of the script', async () => {
  const script = file(
    'options.pkt',
    '--mtu=1400\n--tolerance_usecs=0\n0 < S 0:0(0) win 100\n+0.005 > R. 0:0(0) ack 1\n',
  )
  assert.is((await run(script))[0], 1)
  assert.is((await run('--tolerance_usecs=5000', script))[0], 0)
  assert.is((await run('--tolerance_usecs=5000', '--ip_version=ipv6', script))[0], 0)
  assert.match((await run('--ip_version=ipv5', script))[1], '--ip_version=ipv5 is none of ipv4, ipv6')
  assert.match((await run('--local_ip=elsewhere', script))[1], '--local_ip=elsewhere is no address of IPv4')
  assert.is((await run('--mtu=', script))[0], 2)
})

test('addresses are those that the options say', () => {
  const cookie = (options: Record<string, string>) =>
    runScript(
      `\`./defaults.sh\`
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_TCP, TCP_FASTOPEN, [1], 4) = 0
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 1000 <mss 1000,FO>
+0 > S. 0:0(0) ack 1 <mss 1460,FO TFO_COOKIE,nop,nop>`,
      silent,
      { options: new Map(Object.entries(options)) },
    ).verdict
  assert.is(cookie({}), 'passed')
  assert.is(cookie({ remote_ip: '192.0.2.1', local_ip: '192.168.0.1' }), 'passed')
  assert.is(cookie({ remote_ip: '192.0.2.9' }), 'failed')
  assert.is(cookie({ local_ip: '192.168.0.9' }), 'failed')
  assert.is(cookie({ remote_ip: 'fd00::1' }), 'unsupported')
})

test('accept makes room in a full accept queue', () => {
  const third = (beforeIt: string) =>
    runScript(
      `\`./defaults.sh\`
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 0) = 0
+0 < S 0:0(0) win 1000
+0 > S. 0:0(0) ack 1 <mss 1460>
+0 < . 1:1(0) ack 1 win 1000
+0 < R. 1:1(0) ack 1 win 1000
${beforeIt}
+0 < S 0:0(0) win 1000
+0 > S. 0:0(0) ack 1 <mss 1460>`,
      silent,
    ).verdict
  assert.is(third(''), 'failed')
  assert.is(third('+0 accept(3, ..., ...) = 4'), 'passed')
  assert.is(third('+0 listen(3, 1) = 0'), 'passed')
})

test('-D replaces words', async () => {
  const script = file('defines.pkt', '0 < S 0:0(0) win 100\n+0 > R. 0:0(0) ack ACK\n')
  assert.is((await run(script))[0], 1)
  assert.is((await run('-D', 'ACK=1', script))[0], 0)
  assert.is((await run('-D', 'OTHER=7', '--define=ACK=1', script))[0], 0)
  assert.is((await run('-D', '=1', script))[0], 2)
})

test('a failure shows the line, what was expected and what came', async () => {
  const [, output] = await run(bad)
  assert.match(
    output,
    /bad\.pkt:2: ack: expected 2, got 1\n {4}expected > R\. 0:0\(0\) ack 2\n {4}actual {3}> R\. 0:0\(0\) ack 1 win 0/,
  )
})

/* --- the language --- */

test('times, packets and calls are read as they are written', () => {
  const script = parseScript(`--tolerance_usecs=500
    // a comment
    +.1~+.2 > [ect0] PE. 1:1001(1000) ack 3 win 5 urg 7 <nop,nop,TS val 1 ecr 0x2,sack 1:2 3:4,FO 0a0b>
    0.5...0.6 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, ...) = -1 EAGAIN (no)
    * < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]`)
  assert.is(script.options.get('tolerance_usecs'), '500')
  const [packet, call, icmp] = script.events
  assert.equal(packet!.time, { kind: 'relative', us: 100_000, endUs: 200_000 })
  const { body, ip } = packet!.action as PacketAction
  assert.is(ip.ecn, 'ect0')
  assert.equal(body, {
    protocol: 'tcp',
    flags: 8 | 16 | 64,
    sequence: 1,
    length: 1000,
    acknowledgement: 3,
    window: 5,
    urgent: 7,
    options: [
      { kind: 'nop' },
      { kind: 'nop' },
      { kind: 'timestamps', value: 1, echo: 2 },
      { kind: 'sack', edges: [1, 2, 3, 4] },
      { kind: 'cookie', experimental: false, bytes: [10, 11] },
    ],
    sourcePort: 0,
    destinationPort: 0,
  })
  const connect = call!.action as CallAction
  assert.is(connect.endUs, 600_000)
  assert.is(connect.errno, 'EAGAIN')
  assert.equal(icmp!.time, { kind: 'any' })
  assert.is(((icmp!.action as PacketAction).body as { mtu: number }).mtu, 1200)
})

test('what is no script says where', () => {
  const cases: [string, number][] = [
    ['\n\n+0 > Z 0:0(0)', 3],
    ['0 read(3, ..., 10', 1],
    ['0 < . 1:5(3) ack 1', 1],
    ['`never closed', 1],
    ['0 %{ assert 1', 1],
  ]
  for (const [text, line] of cases) {
    const outcome = runScript(text, silent)
    assert.is(outcome.verdict, 'error', text)
    assert.is((outcome as { line: number }).line, line, text)
  }
})

test('the packet that an ICMP error quotes may stand in front of it', () => {
  const [before, behind] = [
    '[S 0:10(10)] icmp unreachable frag_needed mtu 900',
    'icmp unreachable frag_needed mtu 900 [S 0:10(10)]',
  ]
  const packets = [before!, behind!].map((text) => parseScript(`0 < ${text}`).events[0]!.action as PacketAction)
  assert.equal(packets[0]!.body, packets[1]!.body)
  assert.is(runScript('0 < [1:11(10)] udp (10)', silent).verdict, 'error')
})

test('brackets of both forms, texts in pieces, numbers of echoes', () => {
  const body = (text: string) => parseScript(text).events[0]!.action
  assert.equal(
    (body('0 < (ect0) S 0:0(0) win 1') as PacketAction).ip,
    (body('0 < [ect0] S 0:0(0) win 1') as PacketAction).ip,
  )
  assert.equal((body('0 f("ab" "c"..., 3) = 0') as CallAction).arguments[0], { kind: 'text', value: 'abc' })
  assert.is((body('0 < icmp echo_request id 5') as PacketAction).body.protocol, 'icmp')
})

test('what is not done is named, and counts as unsupported', () => {
  const cases = [
    ['0 `iptables -L`', "the command 'iptables -L'"],
    ['`sysctl -q net.ipv4.tcp_nonsense=1`\n0 close(3) = -1 EBADF', "the setting 'net.ipv4.tcp_nonsense=1'"],
    ['0 < S 0:0(0) win 1 <mp_capable a>', 'Multipath TCP (mp_capable)'],
    ['0 `tc qdisc replace dev tun0 root pfifo limit 0`', "the command 'tc qdisc replace dev tun0 root pfifo limit 0'"],
    ['0 > icmp unreachable', 'an expected ICMP packet'],
    ['0 < {mutate tcp mss} S 0:0(0) win 1', 'mutated packets'],
    ['0 < S 0:0(0) win 1 {truncate ip 4}', 'mutated packets'],
    ['0 < icmp unreachable [raw (10)]', 'quoted packets of other protocols'],
    ['--flavour=7\n0 close(3) = -1 EBADF', 'the option --flavour'],
    ['0 socket(..., SOCK_STREAM, IPPROTO_MPTCP) = 3', 'sockets of IPPROTO_MPTCP'],
  ] as const
  for (const [text, reason] of cases) {
    const outcome = runScript(text, silent)
    assert.is(outcome.verdict, 'unsupported', `${text}: ${JSON.stringify(outcome)}`)
    assert.is((outcome as { reason: string }).reason, reason)
  }
})

/* --- code --- */

const variables = (): Variables => new Map([['tcpi_snd_cwnd', 10]])

test('assertions hold as in Python', () => {
  const holding = [
    'assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd',
    'assert 5 <= tcpi_snd_cwnd < 11 and not 0',
    'assert tcpi_snd_cwnd in (9, 10)',
    'assert tcpi_snd_cwnd not in [1, 2]',
    "assert 'cwnd=%d' % tcpi_snd_cwnd == 'cwnd=10'",
    'assert 7 // 2 == 3 and 7 / 2 == 3.5 and -7 % 3 == 2 and 2 ** 3 == 8',
    'assert (6 & 3) == 2 and (6 | 1) == 7 and (1 << 4) == 16',
    'x = tcpi_snd_cwnd; x += 1\nassert x == 11',
    'if tcpi_snd_cwnd == 3: assert False',
    'if tcpi_snd_cwnd == 3: x = 1; assert False;  # all of the line\nassert True',
    'assert abs(-3) == 3 and max(1, 2) == 2  # a comment',
    'assert True, "a"; \\\n assert 1 != 2',
  ]
  for (const code of holding) runPython(code, 1, variables(), silent)
  for (const code of [
    'assert tcpi_snd_cwnd != 10',
    'assert 1 < 2 < 2',
    'assert not True',
    'pass\nassert 0 or None',
    'if tcpi_snd_cwnd == 10: pass; assert False',
    'if tcpi_snd_cwnd == 3: pass;\nassert False',
  ])
    assert.throws(
      () => runPython(code, 1, variables(), silent),
      (error: Error) => error.name === 'ScriptFailure',
    )
})

test('other Python, and names that are not known, are unsupported', () => {
  for (const code of [
    'if 1:\n  pass',
    'def f(): pass',
    'assert tcpi_unheard == 1',
    'for x in y: pass',
    'assert f(1)',
    'import os',
  ])
    assert.throws(
      () => runPython(code, 1, variables(), silent),
      (error: Error) => error.name === 'ScriptUnsupported',
    )
})

/* --- whatever is written --- */

test('mutilated scripts end with a verdict', () => {
  const next = seededRandom(SEED)
  const random = () => (next() >>> 0) / 2 ** 32
  const texts = readdirSync(FOLDER).map((name) => readFileSync(new URL(name, FOLDER), 'utf8'))
  for (let n = 0; n < MUTILATED; n++) {
    let text = texts[Math.floor(random() * texts.length)]!
    for (let cut = 0; cut < 3; cut++) {
      const at = Math.floor(random() * text.length)
      const length = Math.floor(random() * 8)
      const kind = Math.floor(random() * 3)
      const from = Math.floor(random() * text.length)
      const insertion =
        kind === 0 ? '' : kind === 1 ? text.slice(from, from + length) : String(Math.floor(random() * 2 ** 33))
      text = text.slice(0, at) + insertion + text.slice(at + (kind === 1 ? 0 : length))
    }
    try {
      runScript(text, silent)
    } catch (error) {
      throw new Error(`seed ${SEED}, case ${n}: ${(error as Error).stack}\n${text}`)
    }
  }
})

test.run()
