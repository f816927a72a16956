/**
 * Errors at the edge of the API. Hot paths return negative codes or count a reason; whatever a caller
 * outside sees is one of these, with a stable `code` and a message that says what, why and what to do.
 */
export class PackratError extends Error {
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'PackratError'
    this.code = code
  }
}

/** A region that cannot be created, opened or trusted. Opening has changed nothing; a failed creation leaves nothing, unless syncing the directory was what failed. */
export class RegionError extends PackratError {
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(code, message, options)
    this.name = 'RegionError'
  }
}

/** A stored entry whose bytes fail their check. Its bytes are never served. */
export class CorruptionError extends PackratError {
  readonly key: Uint8Array
  readonly meta: number
  readonly buffer: number

  constructor(key: Uint8Array, meta: number, buffer: number, reason: string) {
    super('CORRUPT', `stored value is corrupt: ${reason} (meta ${meta}, buffer ${buffer})`)
    this.name = 'CorruptionError'
    this.key = key
    this.meta = meta
    this.buffer = buffer
  }
}

/** No room for the write. Nothing was changed; reads go on, and deleting makes room. */
export class FullError extends PackratError {
  constructor(message: string) {
    super('FULL', message)
    this.name = 'FullError'
  }
}
