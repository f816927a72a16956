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

/** A condition of a write does not hold. Nothing was changed. */
export class ConditionError extends PackratError {
  /** Which operation of a batch it was, from 0. */
  readonly operation: number
  /** The key's version; undefined: the key is absent. */
  readonly current: bigint | undefined

  constructor(operation: number, current: bigint | undefined) {
    super(
      'CONDITION',
      `the condition of operation ${operation} does not hold: the key ${current === undefined ? 'is absent' : `has version ${current}`}; read it again`,
    )
    this.name = 'ConditionError'
    this.operation = operation
    this.current = current
  }
}
