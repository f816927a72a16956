/** Runs every cell of state-cells.ts: reply, next state, and that nothing leaks; with numbers in the middle and at 2^31, 2^32. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Connection } from '../../../stack/tcp/connection.ts'
import * as states from '../../../stack/tcp/states.ts'
import { patternBytes, RawPeer, type RawPeerOptions, type RawSegment } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'
import { type EventSegment, ROWS, type Row, STATES, type StateName } from './state-cells.ts'

const NAMES: Record<number, StateName> = {
  [states.STATE_SYN_SENT]: 'SYN-SENT',
  [states.STATE_SYN_RECEIVED]: 'SYN-RECEIVED',
  [states.STATE_ESTABLISHED]: 'ESTABLISHED',
  [states.STATE_FIN_WAIT_1]: 'FIN-WAIT-1',
  [states.STATE_FIN_WAIT_2]: 'FIN-WAIT-2',
  [states.STATE_CLOSING]: 'CLOSING',
  [states.STATE_CLOSE_WAIT]: 'CLOSE-WAIT',
  [states.STATE_LAST_ACK]: 'LAST-ACK',
}

const NUMBERS: RawPeerOptions[] = [{}, { hostIss: -2, peerIss: -3 }, { hostIss: 0x7ffffffe, peerIss: 0x7ffffffd }]

/** A host in one state. Numbers are relative to both initial ones, as in RawPeer. */
class Cell {
  readonly peer: RawPeer
  readonly application: StreamApplication
  c: Connection | undefined
  listening = false
  /** The peer's next number; our oldest that is not acknowledged, and our next. */
  theirs = 0
  oldest = 0
  next = 0

  constructor(state: StateName, numbers: RawPeerOptions) {
    this.peer = new RawPeer(numbers)
    this.application = new StreamApplication(this.peer.pool)
    this.application.closesAfterPeer = false
    this.enter(state)
    this.peer.sent.length = 0
    assert.is(this.state(), state, 'set-up')
  }

  state(): StateName {
    const { tcp } = this.peer.host
    // Of a half-open connection the application does not know.
    const c = this.application.connection ?? this.c
    if (tcp.connectionCount > 0) return NAMES[c?.state ?? states.STATE_CLOSED] ?? 'SYN-RECEIVED'
    if (tcp.timeWaitCount > 0) return 'TIME-WAIT'
    return this.listening && this.application.closeReason < 0 ? 'LISTEN' : 'CLOSED'
  }

  private enter(state: StateName): void {
    const { peer } = this
    if (state === 'CLOSED') return
    if (state === 'SYN-SENT') {
      this.c = peer.host.tcp.connect('10.0.0.1', peer.peerPort, this.application)
      peer.hostPort = this.c.localPort
      peer.poll()
      this.next = 1
      return
    }
    peer.host.tcp.listen(peer.hostPort, this.application)
    this.listening = true
    if (state === 'LISTEN') return
    peer.send('S', { seq: 0 })
    this.theirs = 1
    this.next = 1
    if (state === 'SYN-RECEIVED') {
      this.oldest = 1 // all that may be acknowledged; the rows about old ACKs are about less
      return
    }
    peer.send('A', { seq: 1, ack: 1 })
    this.oldest = 1
    this.c = this.application.connection
    if (state === 'CLOSE-WAIT' || state === 'LAST-ACK') this.peerCloses()
    if (state === 'ESTABLISHED' || state === 'CLOSE-WAIT') return
    this.c!.shutdown()
    peer.poll()
    this.next = 2
    if (state === 'CLOSING') this.peerCloses()
    if (state === 'FIN-WAIT-2' || state === 'TIME-WAIT') {
      peer.send('A', { seq: 1, ack: 2 })
      this.oldest = 2
    }
    if (state === 'TIME-WAIT') this.peerCloses()
  }

  private peerCloses(): void {
    this.peer.send('FA', { seq: 1, ack: this.oldest })
    this.theirs = 2
  }

  /** Lets the event happen. @returns the replies in the notation of state-cells.ts */
  run(row: Row): string {
    const { peer } = this
    if (row.segment !== undefined) return this.receive(row.segment)
    if (row.silenceMs !== undefined) peer.advanceMs(row.silenceMs)
    else if (row.call === 'shutdown') this.c!.shutdown()
    else if (row.call === 'abort') this.c!.abort()
    else this.c!.send(chainOf(peer.pool, patternBytes(10)))
    peer.poll()
    return this.replies(0, 0)
  }

  private receive(event: EventSegment): string {
    const seq = this.theirs + (event.seq ?? 0)
    const segment: RawSegment = { seq, payload: patternBytes(event.bytes ?? 0) }
    if (event.ackFromNext !== undefined) segment.ack = this.next + event.ackFromNext
    // In SYN-SENT only our SYN can be acknowledged.
    if (event.ackFromOldest !== undefined) segment.ack = this.oldest + event.ackFromOldest
    if (this.state() === 'SYN-SENT' && event.ackFromOldest === 0) segment.ack = this.next
    this.peer.send(event.flags, segment)
    return this.replies(seq, segment.ack ?? 0)
  }

  private replies(seq: number, ack: number): string {
    const texts = this.peer.sent.map((s) => {
      const beyond = s.ack - this.theirs
      const more = beyond === 0 ? '' : `+${beyond}`
      const place = (expected: number): string => (s.seq === expected ? '' : `@${s.seq}`)
      switch (s.flags) {
        case 'R':
          return `R${place(ack)}`
        case 'RA':
          if (((s.seq + this.peer.hostIss) | 0) === 0 && this.c === undefined) return `RA+${s.ack - seq}`
          return `RA${more}${place(this.next)}`
        case 'S':
        case 'SA':
          return `${s.flags}${more}${place(0)}`
        default:
          return `${s.flags}${more}${place(this.next)}`
      }
    })
    return texts.length === 0 ? '-' : texts.join(' ')
  }
}

for (const row of ROWS) {
  test(`${row.event} (${row.clause})`, () => {
    const cells = row.cells.split('|').map((cell) => cell.trim())
    assert.is(cells.length, STATES.length)
    STATES.forEach((state, column) => {
      const [reply, next] = row.anyReply === true ? ['', cells[column]!] : cells[column]!.split(' ')
      if (reply === '/') return
      for (const numbers of NUMBERS) {
        const cell = new Cell(state, numbers)
        const replies = cell.run(row)
        const text = `${state}, numbers from ${numbers.hostIss ?? 100}`
        if (row.anyReply !== true) assert.is(replies, reply, text)
        assert.is(cell.state(), next === undefined || next === '' ? state : next, text)
        const { pool, host } = cell.peer
        host.close(cell.peer.nowUs)
        assert.is(pool.freeBuffers, pool.totalBuffers, `${text}: buffers`)
        assert.is(pool.freeMetas, pool.totalMetas, `${text}: lines`)
        assert.is(host.tcp.connectionCount, 0, text)
      }
    })
  })
}

test('urgent pointers are counted', () => {
  const cell = new Cell('ESTABLISHED', {})
  cell.peer.send('PAU', { seq: 1, ack: 1, payload: patternBytes(10) })
  assert.is(cell.peer.host.counters.tcp.urgentIgnored, 1)
  assert.equal([...cell.application.bytes], [...patternBytes(10)])
})

test('half close: after our FIN the peer still sends, after the peer’s FIN we still send', () => {
  for (const numbers of NUMBERS) {
    const closed = new Cell('FIN-WAIT-2', numbers)
    closed.peer.send('PA', { seq: 1, ack: 2, payload: patternBytes(100) })
    assert.is(closed.application.receivedBytes, 100)
    const heard = new Cell('CLOSE-WAIT', numbers)
    heard.c!.send(chainOf(heard.peer.pool, patternBytes(100)))
    heard.peer.poll()
    assert.equal(heard.peer.take(), ['PA 1 2 100'])
    heard.peer.send('A', { seq: 2, ack: 101 })
    heard.c!.shutdown()
    heard.peer.poll()
    assert.equal(heard.peer.take(), ['FA 101 2'])
    heard.peer.send('A', { seq: 2, ack: 102 })
    assert.is(heard.state(), 'CLOSED')
  }
})

test.run()
