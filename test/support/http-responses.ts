/**
 * Reads HTTP/1.1 responses as a client does (RFC 9112 6.3): strict, slow and obvious, the opposite end of the
 * service. Anything that is not a well-formed response throws.
 */

export interface HttpResponse {
  readonly status: number
  readonly reason: string
  /** By lower-case name. No field of ours may stand twice. */
  readonly fields: ReadonlyMap<string, string>
  readonly body: Buffer
}

interface Parsed {
  readonly responses: HttpResponse[]
  /** Bytes behind the last complete response. */
  readonly rest: Buffer
}

/**
 * Reads the complete responses to requests of the given methods. 100 (Continue) counts as a response of its own
 * (method 'CONTINUE').
 * @param ended the connection has ended: a body without a length is complete
 */
export function parseResponses(bytes: Buffer, methods: readonly string[], ended = false): Parsed {
  const responses: HttpResponse[] = []
  let at = 0
  for (const method of methods) {
    const found = parseOne(bytes, at, method, ended)
    if (found === undefined) break
    responses.push(found.response)
    at = found.end
  }
  return { responses, rest: bytes.subarray(at) }
}

function parseOne(
  bytes: Buffer,
  from: number,
  method: string,
  ended: boolean,
): { response: HttpResponse; end: number } | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n', from, 'latin1')
  if (headEnd < 0) return undefined
  const lines = bytes.toString('latin1', from, headEnd).split('\r\n')
  const statusLine = /^HTTP\/1\.1 (\d{3}) ([A-Za-z -]+)$/.exec(lines[0]!)
  if (statusLine === null) throw new Error(`no status line: ${JSON.stringify(lines[0])}`)
  const status = Number(statusLine[1])
  const fields = new Map<string, string>()
  for (const line of lines.slice(1)) {
    const field = /^([A-Za-z-]+): ([\x20-\x7e]*)$/.exec(line)
    if (field === null) throw new Error(`no field line: ${JSON.stringify(line)}`)
    const name = field[1]!.toLowerCase()
    if (fields.has(name)) throw new Error(`${name} stands twice`)
    fields.set(name, field[2]!)
  }
  const body = readBody(bytes, headEnd + 4, method, status, fields, ended)
  if (body === undefined) return undefined
  return { response: { status, reason: statusLine[2]!, fields, body: body.data }, end: body.end }
}

/** RFC 9112 (6.3), in its order. */
function readBody(
  bytes: Buffer,
  at: number,
  method: string,
  status: number,
  fields: ReadonlyMap<string, string>,
  ended: boolean,
): { data: Buffer; end: number } | undefined {
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return { data: Buffer.alloc(0), end: at }
  if (fields.get('transfer-encoding') === 'chunked') return readChunked(bytes, at)
  const length = fields.get('content-length')
  if (length === undefined) return ended ? { data: bytes.subarray(at), end: bytes.length } : undefined
  const end = at + Number(length)
  return bytes.length < end ? undefined : { data: bytes.subarray(at, end), end }
}

function readChunked(bytes: Buffer, from: number): { data: Buffer; end: number } | undefined {
  const chunks: Buffer[] = []
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at, 'latin1')
    if (lineEnd < 0) return undefined
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16)
    if (!Number.isInteger(size)) throw new Error('no chunk size')
    const end = lineEnd + 2 + size + 2
    if (bytes.length < end) return undefined
    if (bytes.toString('latin1', end - 2, end) !== '\r\n') throw new Error('a chunk does not end where it says')
    if (size === 0) return { data: Buffer.concat(chunks), end }
    chunks.push(bytes.subarray(lineEnd + 2, end - 2))
    at = end
  }
}
