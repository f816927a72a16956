/**
 * What Wireshark's experts say of a capture: errors, malformed frames, and warnings that nobody has explained. Wireshark
 * follows each connection from both sides, so it notices acknowledgements of what was never sent, segments beyond the
 * window, options and checksums that are wrong.
 */
import { run } from './lab.ts'

/** An expert's warning that is in order, and why. */
export interface Explained {
  readonly message: RegExp
  /** Only frames of these sources; default: of any. */
  readonly from?: readonly string[]
  /** Only in a capture in which something was sent twice. */
  readonly afterRetransmission?: true
  readonly because: string
}

const WARNING = 0x600000
/** Between values of a field: no message of an expert contains it. */
const SEPARATOR = '\u001f'
/** TCP is judged, not what it carries: payloads are random, and dissectors would find their protocols in them. */
const NO_APPLICATIONS = ['-d', 'tcp.port==1-65535,data']
const FIELDS = [
  ...['frame.number', 'ip.src', 'ipv6.src', '_ws.expert.severity', '_ws.expert.message'],
  'tcp.analysis.retransmission',
]

const DUPLICATE_SACK = /^D-SACK Sequence$/

/** Nothing lost, nothing refused: what remains on an undisturbed link. */
export const FLOW_CONTROL: readonly Explained[] = [
  {
    message: /^TCP window specified by the receiver is now completely full$/,
    because: 'the sender uses the window that it was offered to its last byte',
  },
  { message: /^TCP Zero Window segment$/, because: 'the application is slower than the network for a moment' },
  {
    message: DUPLICATE_SACK,
    because: 'a tail loss probe of the other side, which had waited too long, was not needed',
  },
]

export interface Verdict {
  readonly frames: number
  /** A line for each error and each unexplained warning. */
  readonly complaints: readonly string[]
  /** How often each explained warning was seen, by its reason. */
  readonly explained: ReadonlyMap<string, number>
}

export async function expertVerdict(file: string, explanations: readonly Explained[]): Promise<Verdict> {
  const rows = await frames(file)
  const complaints: string[] = []
  const explained = new Map<string, number>()
  let duplicateSacks = 0
  const retransmissions = rows.filter(([, , , , , again]) => again).length
  for (const [frame, source4, source6, severities = '', messages = ''] of rows) {
    const source = source4 || source6 || ''
    const texts = messages.split(SEPARATOR)
    for (const [index, severity] of severities.split(SEPARATOR).entries()) {
      if (Number(severity) < WARNING) continue
      const text = texts[index] ?? ''
      if (DUPLICATE_SACK.test(text)) duplicateSacks++
      const reason =
        Number(severity) === WARNING && explanations.find((each) => explains(each, text, source, retransmissions))
      if (reason) explained.set(reason.because, (explained.get(reason.because) ?? 0) + 1)
      else complaints.push(`frame ${frame} from ${source}: ${text} (${severity})`)
    }
  }
  if (duplicateSacks > retransmissions)
    complaints.push(`${duplicateSacks} duplicate SACKs for ${retransmissions} retransmissions`)
  return { frames: rows.length, complaints, explained }
}

function explains(explained: Explained, text: string, source: string, retransmissions: number): boolean {
  const { message, from, afterRetransmission } = explained
  if (afterRetransmission === true && retransmissions === 0) return false
  return message.test(text) && (from === undefined || from.includes(source))
}

/** The fields of every frame, in one pass. */
async function frames(file: string): Promise<string[][]> {
  const checksums = ['-o', 'ip.check_checksum:TRUE', '-o', 'tcp.check_checksum:TRUE']
  const shape = ['-T', 'fields', '-E', `aggregator=${SEPARATOR}`, ...FIELDS.flatMap((field) => ['-e', field])]
  const { status, stdout, stderr } = await run('tshark', ['-r', file, ...NO_APPLICATIONS, ...checksums, ...shape])
  if (status !== 0) throw new Error(`tshark: ${stderr}`)
  const rows = stdout.toString().split('\n').filter(Boolean)
  return rows.map((row) => row.split('\t'))
}
