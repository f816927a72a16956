/**
 * `packrat packetdrill`: the scripts that are shipped pass, and fail as soon as one thing that they expect is changed.
 * @timeout 120
 */
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseScript } from '../../tools/packetdrill/parse-script.ts'
import { runParsed, runScript } from '../../tools/packetdrill/run-script.ts'
import type { PacketAction, Script, ScriptEvent, TcpOptionSpec, TcpSpec } from '../../tools/packetdrill/script.ts'

const FOLDER = new URL('../../../test/packetdrill/', import.meta.url)
const SCRIPTS_MIN = 60
/** More than the tolerance: µs, and of the time that it is late already, which makes for an eighth. */
const SHIFT_US = 10_000
const SHIFT_SHARE = 1 / 6
const SYN = 2

const silent = () => {}

const scripts = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.pkt'))
  .map((name) => ({ name, text: readFileSync(new URL(name, FOLDER), 'utf8') }))

test('there are scripts', () => assert.ok(scripts.length >= SCRIPTS_MIN, `${scripts.length} scripts`))

for (const { name, text } of scripts)
  test(`${name} passes`, () => {
    const outcome = runScript(text, silent)
    assert.is(
      outcome.verdict,
      'passed',
      outcome.verdict === 'passed' ? '' : `${name}:${outcome.line}: ${outcome.reason}`,
    )
  })

for (const { name, text } of scripts)
  test(`${name} says what it is for`, () => assert.match(text.split('\n')[0]!, /^\/\/ (RFC \d+|POSIX|Linux)/))

/** Of these the text itself is about IPv4, or about the size of its headers. */
const NOT_OVER_IPV6 = /--ip_version|--local_ip|icmp|RFC 9293 3\.7\.1, RFC 7323 1\.3/

for (const { name, text } of scripts.filter((script) => !NOT_OVER_IPV6.test(script.text)))
  test(`${name} passes over IPv6`, () => {
    const outcome = runScript(`--ip_version=ipv6\n${text.replaceAll('mss 1460', 'mss 1440')}`, silent)
    assert.is(
      outcome.verdict,
      'passed',
      outcome.verdict === 'passed' ? '' : `${name}:${outcome.line}: ${outcome.reason}`,
    )
  })

/* --- a wrong expectation is reported --- */

type Change = (spec: TcpSpec) => TcpSpec | undefined

const CHANGES: Readonly<Record<string, Change>> = {
  sequence: (spec) => ({ ...spec, sequence: (spec.sequence + 1) >>> 0 }),
  length: (spec) => ({ ...spec, length: spec.length + 1 }),
  acknowledgement: (spec) =>
    spec.acknowledgement < 0 ? undefined : { ...spec, acknowledgement: (spec.acknowledgement + 1) >>> 0 },
  flag: (spec) => ({ ...spec, flags: spec.flags ^ 64 }),
  window: (spec) => (spec.window < 0 ? undefined : { ...spec, window: spec.window + 1 }),
  urgent: (spec) => ({ ...spec, urgent: spec.urgent + 1 }),
  echo: (spec) => {
    const echoes = spec.options?.some((option) => option.kind === 'timestamps')
    const later = (option: TcpOptionSpec) =>
      option.kind === 'timestamps' ? { ...option, echo: option.echo + 1 } : option
    return echoes ? { ...spec, options: spec.options!.map(later) } : undefined
  },
  option: (spec) => spec.options && { ...spec, options: [...spec.options, { kind: 'nop' }] },
}

/** The script with another event in one place. */
function withEvent(script: Script, index: number, event: ScriptEvent): Script {
  return { ...script, events: script.events.with(index, event) }
}

function shifted(event: ScriptEvent): ScriptEvent | undefined {
  const { time } = event
  if (time.kind === 'any') return undefined
  const byUs = Math.ceil(SHIFT_US + time.endUs - time.us + time.endUs * SHIFT_SHARE)
  return { ...event, time: { ...time, us: time.us + byUs, endUs: time.endUs + byUs } }
}

let mutants = 0

for (const { name, text } of scripts)
  test(`${name} fails when it expects something else`, () => {
    const script = parseScript(text)
    let numbered = false
    script.events.forEach((event, index) => {
      const { action } = event
      if (action.kind !== 'packet' || action.inbound || action.body.protocol !== 'tcp') return
      const late = shifted(event)
      if (late !== undefined) expectFailure(withEvent(script, index, late), event.line, 'time')
      for (const [what, change] of Object.entries(CHANGES)) {
        const body = change(action.body)
        // The first SYN says which number is the initial one: any is right.
        if (body === undefined || (what === 'sequence' && !numbered && (body.flags & SYN) !== 0)) continue
        const other: PacketAction = { ...action, body }
        expectFailure(withEvent(script, index, { ...event, action: other }), event.line, what)
      }
      numbered ||= (action.body.flags & SYN) !== 0
    })
  })

function expectFailure(script: Script, line: number, what: string): void {
  mutants++
  const outcome = runParsed(script, silent)
  assert.is(outcome.verdict, 'failed', `line ${line}: another ${what} is not noticed`)
}

test('other flags of a message than it came back with are noticed', () => {
  const message = (flags: string): string => `{msg_name(...)=..., msg_iov(1)=[{..., 1000}], msg_flags=${flags}}`
  const read = `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+0 < . 1:1(0) ack 1 win 32792
+0 accept(3, ..., ...) = 4
+0 < P. 1:101(100) ack 1 win 32792
+0 > . 1:1(0) ack 101
+0 recvmsg(4, `
  const queued = scripts.find(({ name }) => name === 'send-timestamps.pkt')!.text
  for (const [text, verdict] of [
    [`${read}${message('0')}, 0) = 100`, 'passed'],
    [`${read}${message('MSG_TRUNC')}, 0) = 100`, 'failed'],
    [queued.replace('MSG_ERRQUEUE|MSG_TRUNC', 'MSG_ERRQUEUE'), 'failed'],
  ] as const)
    assert.is(runScript(text, silent).verdict, verdict)
})

test('wrong expectations were tried', () => {
  console.log(`${mutants} wrong expectations`)
  assert.ok(mutants > scripts.length * 5)
})

test.run()
