/** `packrat list FILE` and `packrat get FILE KEY`: reading a region without the daemon. */
import { createWriteStream, fstatSync } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CorruptionError, PackratError } from '../storage/errors.ts'
import type { EntryInfo } from '../storage/iteration.ts'
import { NO_META } from '../storage/layout.ts'
import { count, EXIT_OK, EXIT_PROBLEM, runCommand, text, toggle } from './arguments.ts'
import { corruptText } from './damage.ts'
import { percentDecode } from './kv/key-codec.ts'
import { listingLine } from './kv/listing.ts'
import { openForReading } from './open-store.ts'

const FILE = { name: 'FILE', help: 'the region' }
const STDOUT = 1
/** Larger than any number of entries. */
const NO_LIMIT = Number.MAX_SAFE_INTEGER

const listCommand = {
  name: 'packrat list',
  summary: 'the entries of a region, in key order',
  operands: [FILE],
  flags: {
    prefix: text('TEXT', 'only keys that begin so'),
    start: text('KEY', 'first key'),
    end: text('KEY', 'the key behind the last one'),
    limit: count('N', 'at most so many entries', { default: NO_LIMIT }),
    reverse: toggle('from the last key to the first'),
    json: toggle('one JSON document instead of a line for each entry'),
  },
}

const bytesOf = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))

/** Text that is written at once, bytes. */
const CHUNK_BYTES = 64 << 10
/** Of a value at once: a write takes less than 2 GiB. */
const PIECE_BYTES = 16 << 20

/** Who reads the output may have seen enough, as head(1) has after ten lines: the rest is for nobody, and that is no error. */
async function print(chunks: Iterable<string | Uint8Array>): Promise<void> {
  // Node's own stream for a file takes a write that the file system cut short for a whole one.
  const isFile = fstatSync(STDOUT).isFile()
  const output = isFile ? createWriteStream('', { fd: STDOUT, autoClose: false }) : process.stdout
  try {
    await pipeline(Readable.from(chunks), output, { end: isFile })
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException
    if (syscall !== 'write') throw error
    if (code !== 'EPIPE') throw new PackratError('OUTPUT', `cannot write to standard output: ${message}`)
  }
}

function* piecesOf(value: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < value.length; at += PIECE_BYTES) yield value.subarray(at, at + PIECE_BYTES)
}

function* listing(entries: Iterable<EntryInfo>, asDocument: boolean): Generator<string> {
  let text = asDocument ? '{"entries":[' : ''
  let separator = ''
  for (const entry of entries) {
    const line = listingLine(entry)
    text += asDocument ? separator + line.trimEnd() : line
    separator = ','
    if (text.length < CHUNK_BYTES) continue
    yield text
    text = ''
  }
  yield asDocument ? `${text}]}\n` : text
}

export const list = (argv: string[]): number | Promise<number> =>
  runCommand(listCommand, argv, async (flags, [file]) => {
    const { region, store } = openForReading(file!)
    try {
      const range = {
        ...(flags.prefix !== undefined && { prefix: bytesOf(flags.prefix) }),
        ...(flags.start !== undefined && { start: bytesOf(flags.start) }),
        ...(flags.end !== undefined && { end: bytesOf(flags.end) }),
        limit: flags.limit,
        reverse: flags.reverse,
      }
      await print(listing(store.entries(range), flags.json))
      // Without its key an entry is in no list: that it is missing has to be said.
      for (const entry of store.report.corrupt) console.error(`packrat list: CORRUPT: ${corruptText(entry)}`)
      return store.report.corrupt.length > 0 ? EXIT_PROBLEM : EXIT_OK
    } finally {
      region.close()
    }
  })

const getCommand = {
  name: 'packrat get',
  summary: 'one value of a region, to standard output',
  operands: [FILE, { name: 'KEY', help: 'the key' }],
  flags: { percent: toggle('the key is percent-encoded, for keys that are no text') },
}

export const get = (argv: string[]): number | Promise<number> =>
  runCommand(getCommand, argv, async (flags, [file, given]) => {
    const key = flags.percent ? decodeKey(given!) : bytesOf(given!)
    if (key === undefined) {
      console.error(`packrat get: '${given}' is not percent-encoded correctly`)
      return EXIT_PROBLEM
    }
    const { region, store } = openForReading(file!)
    try {
      const head = store.find(key, 0, key.length)
      if (head === NO_META) {
        console.error(`packrat get: no such key: ${given}`)
        return EXIT_PROBLEM
      }
      await print(piecesOf(store.read(head)))
      return EXIT_OK
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      console.error(`packrat get: ${given}: ${error.message}; nothing was printed`)
      return EXIT_PROBLEM
    } finally {
      region.close()
    }
  })

function decodeKey(encoded: string): Uint8Array | undefined {
  const bytes = bytesOf(encoded)
  const length = percentDecode(bytes, 0, bytes.length, bytes, 0)
  return length < 0 ? undefined : bytes.subarray(0, length)
}
