/** Counters that `/stats` shows under `http`. */
export class ServiceCounters {
  requests = 0
  puts = 0
  gets = 0
  deletes = 0
  listings = 0
  /** Atomic batches begun. */
  batches = 0
  /** Snapshots asked for. */
  snapshots = 0
  /** Requests refused before their method ran: malformed, too large, and so on. */
  refused = 0
  /** Heads that lay in several segments and had to be gathered. */
  gatheredHeads = 0
}
