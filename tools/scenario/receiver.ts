/**
 * What a side expects to receive, checked byte by byte as it comes. Called by: player.ts.
 */

export interface Receiver {
  take(bytes: Uint8Array): void
  /** Bytes, or whole responses: what plans wait for. */
  readonly progress: number
  readonly isComplete: boolean
  /** The first thing that was wrong. */
  readonly fault: string | undefined
}

/** Exactly these bytes. */
export class ExactReceiver implements Receiver {
  progress = 0
  fault: string | undefined
  private readonly expected: Uint8Array

  constructor(expected: Uint8Array) {
    this.expected = expected
  }

  get isComplete(): boolean {
    return this.fault === undefined && this.progress === this.expected.length
  }

  take(bytes: Uint8Array): void {
    const wanted = this.expected.subarray(this.progress, this.progress + bytes.length)
    if (wanted.length < bytes.length) this.fault ??= `${bytes.length - wanted.length} bytes too many`
    else if (Buffer.compare(bytes, wanted) !== 0)
      this.fault ??= `byte ${this.progress + firstDifference(bytes, wanted)} is wrong`
    this.progress += bytes.length
  }
}

function firstDifference(bytes: Uint8Array, wanted: Uint8Array): number {
  return bytes.findIndex((byte, at) => byte !== wanted[at])
}

/** HTTP responses with these statuses, and this body each. */
export class ResponseReceiver implements Receiver {
  progress = 0
  fault: string | undefined
  private readonly count: number
  private readonly status: number
  private readonly body: (index: number) => Uint8Array
  private pending = Buffer.alloc(0)

  constructor(count: number, status: number, body: (index: number) => Uint8Array) {
    this.count = count
    this.status = status
    this.body = body
  }

  get isComplete(): boolean {
    return this.fault === undefined && this.progress === this.count
  }

  take(bytes: Uint8Array): void {
    this.pending = Buffer.concat([this.pending, bytes])
    while (this.takeResponse());
  }

  private takeResponse(): boolean {
    const headEnd = this.pending.indexOf('\r\n\r\n')
    if (headEnd < 0) return false
    const head = this.pending.toString('latin1', 0, headEnd)
    const bodyBytes = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0)
    const bodyAt = headEnd + 4
    if (this.pending.length < bodyAt + bodyBytes) return false
    const body = this.pending.subarray(bodyAt, bodyAt + bodyBytes)
    if (!head.startsWith(`HTTP/1.1 ${this.status} `))
      this.fault ??= `response ${this.progress + 1}: ${head.split('\r\n')[0]}`
    else if (!body.equals(this.body(this.progress))) this.fault ??= `response ${this.progress + 1}: wrong bytes`
    this.pending = this.pending.subarray(bodyAt + bodyBytes)
    this.progress++
    return true
  }
}
