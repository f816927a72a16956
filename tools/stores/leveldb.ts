/**
 * `--store leveldb`: the real LevelDB, through classic-level. One synced write batch for each burst, on its own thread;
 * what arrives meanwhile is the next batch.
 *
 *   value   [ version u64 | arrival u64, ns since the epoch ] bytes …       little-endian
 *
 * LevelDB does not say whether a key was there: a PUT is answered as if it were. Called by: baseline-store.ts.
 */
import { keyLength, keyStart, valueLength } from '../../storage/entry.ts'
import { PackratError } from '../../storage/errors.ts'
import {
  ARRIVAL_BY_HARDWARE,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { copyValue } from './copy.ts'
import { type Engine, Found, PUT_REPLACED } from './engine.ts'

const HEADER_BYTES = 16
const EIO = 5
/** Longest run of bytes that a burst may have waiting for LevelDB. */
const STAGED_BYTES_MAX = 256 << 20

type Operation = { type: 'put'; key: Uint8Array; value: Uint8Array } | { type: 'del'; key: Uint8Array }

/** What we use of classic-level 3. An optional dependency: neither its code nor its types are needed to build. */
interface Database {
  open(): Promise<void>
  close(): Promise<void>
  getSync(key: Uint8Array): Uint8Array | undefined
  batch(operations: readonly Operation[], options: { sync: boolean }): Promise<void>
}
type DatabaseClass = new (directory: string, options: { keyEncoding: 'view'; valueEncoding: 'view' }) => Database

const PACKAGE: string = 'classic-level'

export async function isLevelDbInstalled(): Promise<boolean> {
  return import(PACKAGE).then(
    () => true,
    () => false,
  )
}

export class LevelDbEngine implements Engine {
  readonly name = 'leveldb'
  readonly promise: string
  readonly hasIndex = true
  readonly isAsynchronous = true
  /** LevelDB does not count. */
  readonly records = 0
  readonly found = new Found()
  private readonly database: Database
  private staged: Operation[] = []
  /** The batch on its way to the disk. */
  private committing: readonly Operation[] = []
  private stagedBytes = 0
  private version: bigint

  /** Opens the database in a directory, created if there is none. @throws PackratError BASELINE_LEVELDB */
  static async open(directory: string): Promise<LevelDbEngine> {
    const { ClassicLevel } = await loadPackage()
    const database = new ClassicLevel(directory, { keyEncoding: 'view', valueEncoding: 'view' })
    try {
      await database.open()
    } catch (error) {
      const cause = (error as Error).cause as Error | undefined
      throw new PackratError(
        'BASELINE_LEVELDB',
        `cannot open the LevelDB database ${directory}: ${cause?.message ?? (error as Error).message}`,
      )
    }
    return new LevelDbEngine(database)
  }

  private constructor(database: Database) {
    this.database = database
    this.promise = 'as LevelDB with sync: what fdatasync promises there'
    // Versions need only differ: microseconds since the epoch are never handed out twice.
    this.version = BigInt(Date.now()) * 1000n
  }

  hasRoom(bytes: number): boolean {
    return this.stagedBytes + bytes <= STAGED_BYTES_MAX
  }

  put(pool: Pool, head: number): number {
    const start = keyStart(pool, head)
    const key = pool.dataBytes(head).slice(start, start + keyLength(pool, head))
    const value = new Uint8Array(HEADER_BYTES + valueLength(pool, head))
    const view = new DataView(value.buffer)
    const version = this.version++
    pool.set(head, W_VERSION_LOW, Number(version & 0xffffffffn) | 0)
    pool.set(head, W_VERSION_HIGH, Number(version >> 32n))
    view.setBigUint64(0, version, true)
    view.setInt32(8, pool.get(head, W_ARRIVAL_LOW), true)
    view.setInt32(12, pool.get(head, W_ARRIVAL_HIGH) & ~ARRIVAL_BY_HARDWARE, true)
    copyValue(pool, head, value, HEADER_BYTES)
    this.staged.push({ type: 'put', key, value })
    this.stagedBytes += value.length
    return PUT_REPLACED
  }

  remove(key: Uint8Array, start: number, length: number): boolean {
    const name = key.slice(start, start + length)
    // What LevelDB does not have yet comes before what it has.
    const isSame = (operation: Operation): boolean => Buffer.compare(operation.key, name) === 0
    const last = this.staged.findLast(isSame) ?? this.committing.findLast(isSame)
    const exists = last === undefined ? this.database.getSync(name) !== undefined : last.type === 'put'
    if (exists) this.staged.push({ type: 'del', key: name })
    return exists
  }

  find(key: Uint8Array, start: number, length: number): boolean {
    const value = this.database.getSync(key.slice(start, start + length))
    if (value === undefined) return false
    const { found } = this
    const view = new DataView(value.buffer, value.byteOffset)
    found.bytes = value
    found.start = HEADER_BYTES
    found.length = value.length - HEADER_BYTES
    found.versionLow = view.getInt32(0, true)
    found.versionHigh = view.getInt32(4, true)
    found.arrivalLow = view.getInt32(8, true)
    found.arrivalHigh = view.getInt32(12, true)
    return true
  }

  commit(done: (error: number) => void): void {
    const operations = this.staged
    this.staged = []
    this.stagedBytes = 0
    this.committing = operations
    const finish = (error: number): void => {
      this.committing = []
      done(error)
    }
    this.database.batch(operations, { sync: true }).then(
      () => finish(0),
      () => finish(-EIO),
    )
  }

  close(): Promise<void> {
    return this.database.close()
  }
}

/** @throws PackratError BASELINE_LEVELDB if it is not installed */
async function loadPackage(): Promise<{ ClassicLevel: DatabaseClass }> {
  try {
    return (await import(PACKAGE)) as { ClassicLevel: DatabaseClass }
  } catch (error) {
    throw new PackratError(
      'BASELINE_LEVELDB',
      `--store leveldb needs the package ${PACKAGE}, which is not installed (${(error as Error).message}); npm install ${PACKAGE}@3`,
    )
  }
}
