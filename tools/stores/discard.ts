/**
 * `--store discard`: networking only. Every value is received, checked and answered, and none is kept: what the other
 * stores cost is what they add to this one. Called by: baseline-store.ts.
 */
import { W_VERSION_HIGH, W_VERSION_LOW } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { type Engine, Found, PUT_REPLACED } from './engine.ts'

export class DiscardEngine implements Engine {
  readonly name = 'discard'
  readonly promise = 'nothing is kept'
  readonly hasIndex = false
  readonly isAsynchronous = false
  readonly records = 0
  readonly found = new Found()

  hasRoom(): boolean {
    return true
  }

  put(pool: Pool, head: number): number {
    pool.set(head, W_VERSION_LOW, 0)
    pool.set(head, W_VERSION_HIGH, 0)
    return PUT_REPLACED
  }

  remove(): boolean {
    return false
  }

  find(): boolean {
    return false
  }

  commit(done: (error: number) => void): void {
    done(0)
  }

  close(): void {}
}
