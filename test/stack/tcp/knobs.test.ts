/** Knobs under Linux's names: what is set, what is refused, and that connections follow. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { TcpOptions } from '../../../stack/host-options.ts'
import { CLOSE_TIMEOUT } from '../../../stack/tcp/application.ts'
import { knobNames, knobValues, setKnob } from '../../../stack/tcp/knobs.ts'
import { RawPeer } from '../../support/raw-peer.ts'
import { StreamApplication } from '../../support/stream-application.ts'

function set(...settings: string[]): TcpOptions {
  const options: TcpOptions = {}
  for (const setting of settings) {
    const [name, value] = setting.split('=') as [string, string]
    assert.is(setKnob(options, name, value), 'set', setting)
  }
  return options
}

test('a name is found with and without what Linux puts in front', () => {
  for (const name of ['sack', 'tcp_sack', 'net.ipv4.tcp_sack', 'net/ipv4/tcp_sack'])
    assert.equal(set(`${name}=0`), { sack: false })
})

test('values are Linux units', () => {
  assert.equal(set('fin_timeout=5', 'keepalive_time=60', 'early_retrans=0', 'recovery=1', 'congestion_control=reno'), {
    finWait2Ms: 5000,
    keepAliveIdleMs: 60_000,
    tailProbes: false,
    rack: true,
    congestion: 'reno',
  })
})

test('unknown names and values out of range set nothing', () => {
  const options: TcpOptions = {}
  assert.is(setKnob(options, 'rmem', '1'), 'unknown')
  assert.is(setKnob(options, 'toString', '1'), 'unknown')
  for (const value of ['2', '-1', '', '1x', '1.0', ' 1', '99999999999'])
    assert.is(setKnob(options, 'sack', value), 'refused', value)
  assert.is(setKnob(options, 'congestion_control', 'bbr'), 'refused')
  assert.equal(options, {})
})

test('every knob says what it takes, and takes it', () => {
  for (const name of knobNames()) {
    if (name === 'fastopen_key') continue // is no range: fast-open.test.ts
    const values = knobValues(name)!
    const texts = values.includes('|') ? values.split('|') : values.split('..')
    for (const text of texts) assert.is(setKnob({}, name, text), 'set', `${name}=${text}`)
  }
})

test('fewer SYN retries give up earlier', () => {
  const peer = new RawPeer({ tcp: set('syn_retries=2') })
  const client = new StreamApplication(peer.pool)
  peer.host.tcp.connect('10.0.0.1', 4000, client)
  peer.poll()
  peer.advanceMs(6999)
  assert.is(client.closeReason, -1)
  peer.advanceMs(1)
  assert.is(client.closeReason, CLOSE_TIMEOUT)
})

test('a lower challenge limit is kept', () => {
  const peer = new RawPeer({ tcp: set('challenge_ack_limit=3') })
  peer.host.tcp.listen(80, new StreamApplication(peer.pool))
  peer.establish()
  for (let attempt = 0; attempt < 10; attempt++) peer.send('R', { seq: 100 })
  const { challengeAcks } = peer.host.counters.tcp
  assert.ok(challengeAcks >= 2 && challengeAcks <= 4, `half of it to one and a half: ${challengeAcks}`)
})

test.run()
