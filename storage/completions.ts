/**
 * Who waits for batches to be durable: listeners, which hear of every one, and promises, each for its own.
 *
 * Called by: store.ts.
 */
interface Waiting {
  readonly batch: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class Completions {
  private readonly listeners: ((batch: number, error: number) => void)[] = []
  private waiting: Waiting[] = []

  listen(listener: (batch: number, error: number) => void): void {
    this.listeners.push(listener)
  }

  /** Resolves when a batch that is under way is durable, and rejects if it never will be. */
  wait(batch: number): Promise<void> {
    return new Promise((resolve, reject) => this.waiting.push({ batch, resolve, reject }))
  }

  /** @param failure why batches that are not durable never will be; asked if `error` is not 0 */
  complete(batch: number, error: number, failure: () => Error): void {
    for (const listener of this.listeners) listener(batch, error)
    if (this.waiting.length === 0) return
    const due = this.waiting.filter((wait) => error !== 0 || wait.batch <= batch)
    this.waiting = this.waiting.filter((wait) => !due.includes(wait))
    for (const wait of due) error === 0 ? wait.resolve() : wait.reject(failure())
  }
}
