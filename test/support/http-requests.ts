/** Requests as text (latin1), as a plain client writes them. */

export const HOST = 'Host: packrat\r\n'

/** PUT always declares its length; other methods only if there is a body. */
export function request(method: string, target: string, fields: readonly string[] = [], body = ''): string {
  const lines = fields.map((field) => `${field}\r\n`).join('')
  const length = method === 'PUT' || body !== '' ? `Content-Length: ${body.length}\r\n` : ''
  return `${method} ${target} HTTP/1.1\r\n${HOST}${length}${lines}\r\n${body}`
}

export function put(key: string, value: string, fields: readonly string[] = []): string {
  return request('PUT', `/kv/${key}`, fields, value)
}

/** A chunked PUT with one chunk for each part. */
export function putChunked(key: string, parts: readonly string[]): string {
  const chunks = parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('')
  return `PUT /kv/${key} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`
}

export function get(key: string, fields: readonly string[] = []): string {
  return request('GET', `/kv/${key}`, fields)
}

export function remove(key: string, fields: readonly string[] = []): string {
  return request('DELETE', `/kv/${key}`, fields)
}
