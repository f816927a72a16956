/**
 * Every state and every event of a connection, written from RFC 9293 3.10 with what RFC 5961, 1337 and 6191 change.
 * state-cells.test.ts runs each cell.
 *
 * A cell is the reply, then the next state if it is another one:
 *   -        nothing                           A, A+n   ACK with the number that is next, acknowledging n more than before
 *   R        RST with the number of its ACK    RA+n     RST with number 0, acknowledging n numbers of the segment
 *   S, SA    our SYN; with the ACK of its      FA, PA   FIN or data with the number that is next
 *   RA       RST, ACK: an abort                /        this state has no such event
 *
 * Columns: CLOSED, LISTEN, SYN-SENT, SYN-RECEIVED, ESTABLISHED, FIN-WAIT-1, FIN-WAIT-2, CLOSE-WAIT, CLOSING, LAST-ACK,
 * TIME-WAIT. SYN-RECEIVED is a passive open's. In FIN-WAIT-1, CLOSING and LAST-ACK our FIN is not acknowledged.
 */

export const STATES = [
  'CLOSED',
  'LISTEN',
  'SYN-SENT',
  'SYN-RECEIVED',
  'ESTABLISHED',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'CLOSE-WAIT',
  'CLOSING',
  'LAST-ACK',
  'TIME-WAIT',
] as const

export type StateName = (typeof STATES)[number]

/** A segment, as offsets: `seq` from the next number of the peer, `ack` from a number of ours. */
export interface EventSegment {
  flags: string
  seq?: number
  /** From the next number that we send; or from the oldest that is not acknowledged. */
  ackFromNext?: number
  ackFromOldest?: number
  bytes?: number
}

export interface Row {
  event: string
  clause: string
  segment?: EventSegment
  /** What the application does. */
  call?: 'shutdown' | 'abort' | 'send'
  /** Time that passes. */
  silenceMs?: number
  /** Replies are not compared: time-outs send much. */
  anyReply?: boolean
  cells: string
}

const FAR = 1_000_000

export const ROWS: Row[] = [
  {
    event: 'SYN at the next number',
    clause: '3.10.7.1, 3.10.7.2, 3.5 (simultaneous open); RFC 5961 4.2',
    segment: { flags: 'S' },
    cells: 'RA+1 | SA+1 SYN-RECEIVED | SA+1 SYN-RECEIVED | A | A | A | A | A | A | A | A',
  },
  {
    event: 'SYN beyond everything received',
    clause: 'RFC 6191 2: a new incarnation; RFC 5961 4.2',
    segment: { flags: 'S', seq: 100 },
    cells: 'RA+1 | SA+101 SYN-RECEIVED | SA+101 SYN-RECEIVED | A | A | A | A | A | A | A | SA+101 SYN-RECEIVED',
  },
  {
    event: 'SYN outside of the window',
    clause: '3.10.7.4 first; RFC 6191 2',
    segment: { flags: 'S', seq: -FAR },
    cells: `RA+1 | SA+${1 - FAR} SYN-RECEIVED | SA+${1 - FAR} SYN-RECEIVED | A | A | A | A | A | A | A | A`,
  },
  {
    event: 'SYN-ACK of our SYN',
    clause: '3.10.7.3; RFC 5961 4.2',
    segment: { flags: 'SA', ackFromNext: 0 },
    cells: 'R | R | A+1 ESTABLISHED | A | A | A | A | A | A | A | A',
  },
  {
    event: 'SYN-ACK of what was never sent',
    clause: '3.10.7.3 first; RFC 5961 4.2',
    segment: { flags: 'SA', ackFromNext: 1 },
    cells: 'R | R | R | A | A | A | A | A | A | A | A',
  },
  {
    event: 'RST at the next number, without ACK',
    clause: '3.10.7.3 second, 3.10.7.4 second; RFC 5961 3.2; RFC 1337',
    segment: { flags: 'R' },
    cells: '- | - | - | - LISTEN | - CLOSED | - CLOSED | - CLOSED | - CLOSED | - CLOSED | - CLOSED | -',
  },
  {
    event: 'RST at the next number, with the ACK of everything',
    clause: '3.10.7.3 second, 3.10.7.4 second; RFC 1337',
    segment: { flags: 'RA', ackFromNext: 0 },
    cells: '- | - | - CLOSED | - LISTEN | - CLOSED | - CLOSED | - CLOSED | - CLOSED | - CLOSED | - CLOSED | -',
  },
  {
    event: 'RST in the window, but not at the next number',
    clause: 'RFC 5961 3.2',
    segment: { flags: 'R', seq: 10 },
    cells: '- | - | - | A | A | A | A | A | A | A | -',
  },
  {
    event: 'RST outside of the window',
    clause: '3.10.7.4 first',
    segment: { flags: 'R', seq: FAR },
    cells: '- | - | - | - | - | - | - | - | - | - | -',
  },
  {
    event: 'RST left of the window',
    clause: '3.10.7.4 first',
    segment: { flags: 'R', seq: -1 },
    cells: '- | - | - | - | - | - | - | - | - | - | -',
  },
  {
    event: 'FIN',
    clause: '3.10.7.4 eighth, 3.6 (simultaneous close)',
    segment: { flags: 'FA', ackFromOldest: 0 },
    cells: 'R | R | - | A+1 CLOSE-WAIT | A+1 CLOSE-WAIT | A+1 CLOSING | A+1 TIME-WAIT | - | - | - | A',
  },
  {
    event: 'FIN with the ACK of ours',
    clause: '3.10.7.4 fifth, eighth',
    segment: { flags: 'FA', ackFromNext: 0 },
    cells:
      'R | R | - | A+1 CLOSE-WAIT | A+1 CLOSE-WAIT | A+1 TIME-WAIT | A+1 TIME-WAIT | - | - TIME-WAIT | - CLOSED | A',
  },
  {
    event: 'FIN behind 10 bytes that are missing',
    clause: '3.10.7.4 eighth; RFC 5681 3.2',
    segment: { flags: 'FA', seq: 10, ackFromOldest: 0 },
    cells: 'R | R | - | A ESTABLISHED | A | A | A | - | - | - | A',
  },
  {
    event: 'FIN that came before',
    clause: '3.10.7.4 first, eighth',
    segment: { flags: 'FA', seq: -1, ackFromOldest: 0 },
    cells: 'R | R | - | A | A | A | A | A | A | A | A',
  },
  {
    event: 'ACK of everything',
    clause: '3.10.7.4 fifth',
    segment: { flags: 'A', ackFromNext: 0 },
    cells: 'R | R | - | - ESTABLISHED | - | - FIN-WAIT-2 | - | - | - TIME-WAIT | - CLOSED | -',
  },
  {
    event: 'ACK of what is acknowledged',
    clause: '3.10.7.4 fifth',
    segment: { flags: 'A', ackFromOldest: -1 },
    cells: 'R | R | R | R | - | - | - | - | - | - | -',
  },
  {
    event: 'ACK older than any window',
    clause: 'RFC 5961 5.2',
    segment: { flags: 'A', ackFromOldest: -FAR },
    cells: 'R | R | R | R | A | A | A | A | A | A | -',
  },
  {
    event: 'ACK of what was never sent',
    clause: '3.10.7.4 fifth; RFC 5961 5.2',
    segment: { flags: 'A', ackFromNext: 10 },
    cells: 'R | R | R | R | A | A | A | A | A | A | -',
  },
  {
    event: 'data at the next number',
    clause: '3.10.7.4 seventh',
    segment: { flags: 'PA', ackFromOldest: 0, bytes: 10 },
    cells: 'R | R | - | A+10 ESTABLISHED | A+10 | A+10 | A+10 | - | - | - | A',
  },
  {
    event: 'urgent data',
    clause: '3.10.7.4 sixth; RFC 6093 3: in line',
    segment: { flags: 'PAU', ackFromOldest: 0, bytes: 10 },
    cells: 'R | R | - | A+10 ESTABLISHED | A+10 | A+10 | A+10 | - | - | - | A',
  },
  {
    event: 'data in the window behind a gap',
    clause: '3.10.7.4 seventh; RFC 5681 3.2',
    segment: { flags: 'PA', seq: 20, ackFromOldest: 0, bytes: 10 },
    cells: 'R | R | - | A ESTABLISHED | A | A | A | - | - | - | A',
  },
  {
    event: 'data that came before',
    clause: '3.10.7.4 first',
    segment: { flags: 'PA', seq: -10, ackFromOldest: 0, bytes: 10 },
    cells: 'R | R | - | A | A | A | A | A | A | A | A',
  },
  {
    event: 'data of which a part came before',
    clause: '3.10.7.4 first, seventh',
    segment: { flags: 'PA', seq: -5, ackFromOldest: 0, bytes: 10 },
    cells: 'R | R | - | A+5 ESTABLISHED | A+5 | A+5 | A+5 | - | - | - | A',
  },
  {
    event: 'data beyond the window',
    clause: '3.10.7.4 first',
    segment: { flags: 'PA', seq: FAR, ackFromOldest: 0, bytes: 10 },
    cells: 'R | R | - | A | A | A | A | A | A | A | A',
  },
  {
    event: 'data with an ACK of what was never sent',
    clause: '3.10.7.4 fifth; RFC 5961 5.2: not taken',
    segment: { flags: 'PA', ackFromNext: 10, bytes: 10 },
    cells: 'R | R | R | R | A | A | A | A | A | A | A',
  },
  {
    event: 'data without ACK',
    clause: '3.10.7.1; 3.10.7.2 third; 3.10.7.4 fifth',
    segment: { flags: 'P', bytes: 10 },
    cells: 'RA+10 | - | - | - | - | - | - | - | - | - | A',
  },
  {
    event: 'nothing for 1.1 s',
    clause: '3.8.1, 3.10.8 (retransmission)',
    silenceMs: 1100,
    anyReply: true,
    cells: '| | | | | | | | | |',
  },
  {
    event: 'nothing for an hour',
    clause: '3.8.3 (R2), 3.10.8 (TIME-WAIT); FIN-WAIT-2 probes, and gives up',
    silenceMs: 3_600_000,
    anyReply: true,
    cells: '| | CLOSED | LISTEN | | CLOSED | CLOSED | | CLOSED | CLOSED | CLOSED',
  },
  {
    event: 'the application closes',
    clause: '3.10.4',
    call: 'shutdown',
    cells: '/ | / | - CLOSED | / | FA FIN-WAIT-1 | - | - | FA LAST-ACK | - | - | -',
  },
  {
    event: 'the application aborts',
    clause: '3.10.5; CLOSING and LAST-ACK tell the peer, too',
    call: 'abort',
    cells: '/ | / | - CLOSED | / | RA CLOSED | RA CLOSED | RA CLOSED | RA CLOSED | RA CLOSED | RA CLOSED | -',
  },
  {
    event: 'the application sends',
    clause: '3.10.2',
    call: 'send',
    cells: '/ | / | - | / | PA | - | - | PA | - | - | -',
  },
]
