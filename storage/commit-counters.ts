/** What commits count. Called by: commit.ts, publication.ts; shown by tools/stats.ts. */

/** Counters that `/stats` shows under `commit`. */
export class CommitCounters {
  /** Programs that published at least one change. */
  batches = 0
  /** Fences that these executed. */
  fences = 0
  /** Cache lines flushed, in programs of any sort. */
  flushedLines = 0
  /** Changes published: puts and deletes that took effect. */
  changes = 0
  /** Programs that published atomic batches, with a third fence each. */
  groups = 0
  /** Entries published anew in another place, and the buffers that this emptied, less those that it took. */
  moves = 0
  movesVacatedBuffers = 0
  /** Programs that only cleaned up behind earlier batches, and their fences. */
  settles = 0
  settleFences = 0

  /** A program has run, and executed so many fences. @param flushedLines of all programs so far */
  countProgram(executed: number, flushedLines: number, publishes: boolean): void {
    this.flushedLines = flushedLines
    if (publishes) {
      this.batches++
      this.fences += executed
    } else if (executed > 0) {
      this.settles++
      this.settleFences += executed
    }
  }
}
