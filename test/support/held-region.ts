/** A traced region under the test's control: an asynchronous program stays on its way until the test completes it. */
import { TracingRegion } from './tracing-region.ts'

export class HeldRegion extends TracingRegion {
  private held: { program: Int32Array; words: number; done: (error: number) => void } | undefined

  override executeAsync(program: Int32Array, words: number, done: (error: number) => void): void {
    if (this.held !== undefined) throw new Error('a second program while one is on its way')
    this.held = { program, words, done }
  }

  get isHolding(): boolean {
    return this.held !== undefined
  }

  /** Runs the program that is on its way, or lets it fail with a (negative) error number. */
  complete(error = 0): void {
    const { program, words, done } = this.held!
    this.held = undefined
    done(error === 0 ? this.execute(program, words) : error)
  }
}
