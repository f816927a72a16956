/** Commits what an import stages in batches, waits until it is durable, and counts. Called by: capture.ts, lines.ts. */
import { FullError } from '../../storage/errors.ts'
import type { Store } from '../../storage/store.ts'

/** Records that share one persist program, and the buffers behind which it takes no more of them: programs have a limit. */
const RECORDS_PER_COMMIT = 64
const BUFFERS_PER_COMMIT = 1 << 12

export class Progress {
  /** Records that are durable. */
  records = 0
  private readonly store: Store
  private waiting = 0
  private waitingBuffers = 0

  constructor(store: Store) {
    this.store = store
  }

  /** @throws FullError if the next record does not fit, with what is stored so far */
  async makeRoom(buffers: number): Promise<void> {
    if (this.waitingBuffers >= BUFFERS_PER_COMMIT || !this.store.hasRoom(buffers)) await this.finish()
    if (!this.store.hasRoom(buffers)) {
      throw new FullError(
        `the region is full after ${this.records} records, which are stored; make it larger with packrat grow, and import again`,
      )
    }
    this.waitingBuffers += buffers
  }

  /** One record more is staged. */
  async staged(): Promise<void> {
    if (++this.waiting === RECORDS_PER_COMMIT) await this.finish()
  }

  async finish(): Promise<void> {
    this.store.commit()
    await this.store.drain()
    this.records += this.waiting
    this.waiting = 0
    this.waitingBuffers = 0
  }
}
