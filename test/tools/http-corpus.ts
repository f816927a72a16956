/**
 * Request heads and what they mean, with the clause that says so. Smuggling shapes follow the names in use since
 * "HTTP Desync Attacks" (CL.TE, TE.CL, TE.TE). Shared by the parser's tests and the fuzzer.
 */

/** Fields of RequestHead that a valid head must have; the names in capitals are compared as text. */
export interface Expected {
  method?: number
  target?: number
  version?: number
  contentLength?: number
  chunked?: boolean
  expectContinue?: boolean
  keepAlive?: boolean
  keyDecodedLength?: number
  KEY?: string
  QUERY?: string
  IF_MATCH?: string
  IF_NONE_MATCH?: string
  IF_RANGE?: string
  RANGE?: string
}

export interface ValidHead {
  readonly clause: string
  readonly head: string
  readonly expected: Expected
  /** Node's own parser refuses it, for the reason given. */
  readonly nodeRefuses?: string
}

export interface InvalidHead {
  readonly clause: string
  readonly head: string
  readonly status: number
}

const GET = 1
const HEAD = 2
const PUT = 3
const DELETE = 4
const POST = 5
const OPTIONS = 6

const HOST = 'Host: a\r\n'
const get = (fields: string): string => `GET /kv/k HTTP/1.1\r\n${HOST}${fields}\r\n`
const put = (fields: string): string => `PUT /kv/k HTTP/1.1\r\n${HOST}${fields}\r\n`
const line = (requestLine: string): string => `${requestLine}\r\n${HOST}\r\n`

export const VALID: readonly ValidHead[] = [
  {
    clause: '9112 3',
    head: get(''),
    expected: { method: GET, target: 1, KEY: 'k', keepAlive: true, contentLength: -1 },
  },
  { clause: '9110 9.3.2', head: line('HEAD /kv/k HTTP/1.1'), expected: { method: HEAD, target: 1 } },
  { clause: '9110 9.3.5', head: line('DELETE /kv/k HTTP/1.1'), expected: { method: DELETE } },
  { clause: '9110 9.1', head: line('PATCH /kv/k HTTP/1.1'), expected: { method: 0, target: 1 } },
  { clause: '9110 9.1', head: line('get / HTTP/1.1'), expected: { method: 0 }, nodeRefuses: 'knows a list of methods' },
  {
    clause: '9112 6.2',
    head: put('Content-Length: 5\r\n'),
    expected: { method: PUT, contentLength: 5, chunked: false },
  },
  { clause: '9110 8.6', head: put('content-LENGTH:0005  \r\n'), expected: { contentLength: 5 } },
  { clause: '9110 8.6', head: put('Content-Length: 9007199254740991\r\n'), expected: { contentLength: 2 ** 53 - 1 } },
  { clause: '9112 7.1', head: put('Transfer-Encoding: chunked\r\n'), expected: { chunked: true, contentLength: -1 } },
  { clause: '9112 7', head: put('tRANSFER-eNCODING:\t cHUNKED \r\n'), expected: { chunked: true } },
  {
    clause: '9110 10.1.1',
    head: put('Content-Length: 1\r\nExpect: 100-Continue\r\n'),
    expected: { expectContinue: true },
  },
  { clause: '9112 9.3', head: get('Connection: close\r\n'), expected: { keepAlive: false } },
  { clause: '9110 7.6.1', head: get('Connection: x, CLOSE ,y\r\n'), expected: { keepAlive: false } },
  { clause: '9112 9.3', head: get('Connection: keep-alive\r\nConnection: close\r\n'), expected: { keepAlive: false } },
  { clause: '9112 9.3', head: 'GET / HTTP/1.0\r\n\r\n', expected: { version: 10, keepAlive: false, target: 4 } },
  {
    clause: '9112 9.3',
    head: 'GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n',
    expected: { version: 10, keepAlive: true },
  },
  {
    clause: '9110 10.1.1',
    head: 'PUT /kv/k HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n',
    expected: { expectContinue: false },
  },
  { clause: '9110 2.5', head: line('GET / HTTP/1.7'), expected: { version: 11 }, nodeRefuses: 'knows 1.0 and 1.1' },
  { clause: '9112 2.2', head: `\r\n\r\n${line('GET / HTTP/1.1')}`, expected: { target: 4 } },
  {
    clause: '9112 3.2.1',
    head: line('GET /kv?prefix=a&limit=2 HTTP/1.1'),
    expected: { target: 2, QUERY: 'prefix=a&limit=2' },
  },
  { clause: '9112 3.2.1', head: line('GET /kv/ HTTP/1.1'), expected: { target: 2, QUERY: '' } },
  { clause: '9112 3.2.1', head: line('GET /kv/?a?b HTTP/1.1'), expected: { target: 2, QUERY: 'a?b' } },
  { clause: '9112 3.2.1', head: line('GET /kvx HTTP/1.1'), expected: { target: 0 } },
  { clause: '9112 3.2.1', head: line('GET //kv/k HTTP/1.1'), expected: { target: 0 } },
  { clause: '9112 3.2.1', head: line('GET /kv/a/../b//c HTTP/1.1'), expected: { target: 1, KEY: 'a/../b//c' } },
  { clause: '9112 3.2.1', head: line('GET /kv/k?x=1 HTTP/1.1'), expected: { target: 1, KEY: 'k', QUERY: 'x=1' } },
  {
    clause: '3986 2.1',
    head: line('GET /kv/a%2Fb%00%ff?%41 HTTP/1.1'),
    expected: { KEY: 'a%2Fb%00%ff', keyDecodedLength: 5 },
  },
  { clause: '3986 3.3', head: line('GET /kv/a+b|[c]~ HTTP/1.1'), expected: { KEY: 'a+b|[c]~' } },
  { clause: '9112 3', head: line(`GET /kv/${'k'.repeat(1024)} HTTP/1.1`), expected: { keyDecodedLength: 1024 } },
  { clause: '9112 3', head: line(`GET /kv/${'%6B'.repeat(1024)} HTTP/1.1`), expected: { keyDecodedLength: 1024 } },
  { clause: '9112 3.2', head: line('POST /kv/_batch HTTP/1.1'), expected: { method: POST, target: 3 } },
  { clause: '9112 3.2', head: line('PUT /kv/_batch HTTP/1.1'), expected: { method: PUT, target: 1, KEY: '_batch' } },
  { clause: '9112 3.2', head: line('GET /stats HTTP/1.1'), expected: { target: 5 } },
  { clause: '9112 3.2', head: line('GET /stats/ HTTP/1.1'), expected: { target: 0 } },
  { clause: '9112 3.2.2', head: line('GET http://a:80/kv/k HTTP/1.1'), expected: { target: 1, KEY: 'k' } },
  { clause: '9112 3.2.2', head: line('GET HTTP://[::1]:8080/kv?x HTTP/1.1'), expected: { target: 2, QUERY: 'x' } },
  { clause: '9112 3.2.2', head: line('GET http://a HTTP/1.1'), expected: { target: 4 } },
  {
    clause: '9112 3.2.2',
    head: line('GET http://a%20b/kv/k HTTP/1.1'),
    expected: { target: 1, KEY: 'k', keyDecodedLength: 1 },
  },
  { clause: '9112 3.2.4', head: line('OPTIONS * HTTP/1.1'), expected: { method: OPTIONS, target: 6 } },
  { clause: '9112 3.2', head: 'GET / HTTP/1.1\r\nHost:\r\n\r\n', expected: { target: 4 } },
  { clause: '9110 5.5', head: get('X: a \t b\u00ff\r\nEmpty:\r\n'), expected: { KEY: 'k' } },
  { clause: '9110 5.6.2', head: get("!#$%&'*+-.^_`|~0: x\r\n"), expected: { KEY: 'k' } },
  {
    clause: '9110 13.1.1',
    head: put('If-Match: "1", W/"2"\r\nContent-Length: 0\r\n'),
    expected: { IF_MATCH: '"1", W/"2"' },
  },
  { clause: '9110 13.1.2', head: put('If-None-Match: *\r\nContent-Length: 0\r\n'), expected: { IF_NONE_MATCH: '*' } },
  {
    clause: '9110 14.2',
    head: get('Range: bytes=0-4\r\nIf-Range: "7"\r\n'),
    expected: { RANGE: 'bytes=0-4', IF_RANGE: '"7"' },
  },
  { clause: '9110 5.3', head: get('X: 1\r\nX: 2\r\n'), expected: { KEY: 'k' } },
]

const chunked = 'Transfer-Encoding: chunked\r\n'

export const INVALID: readonly InvalidHead[] = [
  // Framing of the message: the smuggling shapes.
  { clause: '9112 6.1 CL.TE', head: put(`Content-Length: 6\r\n${chunked}`), status: 400 },
  { clause: '9112 6.1 TE.CL', head: put(`${chunked}Content-Length: 6\r\n`), status: 400 },
  { clause: '9112 7.1 TE.TE', head: put(`${chunked}${chunked}`), status: 400 },
  { clause: '9112 6.3 TE.TE', head: put(`${chunked}Transfer-Encoding: x\r\n`), status: 400 },
  { clause: '9112 6.1 TE.TE', head: put(`Transfer-Encoding: x\r\n${chunked}`), status: 501 },
  { clause: '9112 6.3', head: put('Transfer-Encoding: xchunked\r\n'), status: 400 },
  { clause: '9112 6.3', head: put('Transfer-Encoding: chunked, identity\r\n'), status: 400 },
  { clause: '9112 7.1', head: put('Transfer-Encoding: chunked, chunked\r\n'), status: 400 },
  { clause: '9112 6.1', head: put('Transfer-Encoding: gzip, chunked\r\n'), status: 501 },
  { clause: '9112 6.3', head: put('Transfer-Encoding: gzip\r\n'), status: 400 },
  { clause: '9112 6.1', head: put('Transfer-Encoding:\r\n'), status: 400 },
  { clause: '9112 6.1', head: put('Transfer-Encoding: ,chunked\r\n'), status: 400 },
  { clause: '9112 6.1', head: put('Transfer-Encoding: "chunked"\r\n'), status: 400 },
  { clause: '9112 7.1', head: put('Transfer-Encoding: chunked;a=b\r\n'), status: 400 },
  { clause: '9112 5.1', head: put('Transfer-Encoding : chunked\r\n'), status: 400 },
  { clause: '9112 5.1', head: put('Transfer-Encoding\t: chunked\r\n'), status: 400 },
  { clause: '9112 5.2', head: put('Transfer-Encoding:\r\n chunked\r\n'), status: 400 },
  { clause: '9112 5', head: put('Transfer-Encoding: \u000bchunked\r\n'), status: 400 },
  { clause: '9112 6.1', head: 'PUT /kv/k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n', status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: 1\r\nContent-Length: 2\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: 1\r\nContent-Length: 1\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: 1, 1\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: -1\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: +1\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: 0x10\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: 1e3\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: 1 0\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: 1.0\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length:\r\n'), status: 400 },
  { clause: '9110 8.6', head: put('Content-Length: 9007199254740992\r\n'), status: 413 },
  { clause: '9110 8.6', head: put(`Content-Length: ${'9'.repeat(400)}\r\n`), status: 413 },
  { clause: '9110 14.4', head: put('Content-Length: 1\r\nContent-Range: bytes 0-0/2\r\n'), status: 400 },
  // Lines and fields.
  { clause: '9112 2.2', head: 'GET / HTTP/1.1\nHost: a\n\n', status: 400 },
  { clause: '9112 2.2', head: 'GET / HTTP/1.1\r\nHost: a\n\r\n', status: 400 },
  { clause: '9112 2.2', head: 'GET / HTTP/1.1\r\nHost: a\r\r\n\r\n', status: 400 },
  { clause: '9112 2.2', head: get('X: a\rb\r\n'), status: 400 },
  { clause: '9112 2.2', head: '\nGET / HTTP/1.1\r\n\r\n', status: 400 },
  { clause: '9112 2.2', head: '\r\rGET / HTTP/1.1\r\n\r\n', status: 400 },
  { clause: '9112 5.2', head: get('X: a\r\n b\r\n'), status: 400 },
  { clause: '9112 2.2', head: 'GET / HTTP/1.1\r\n Host: a\r\n\r\n', status: 400 },
  { clause: '9110 5.5', head: get('X: a\u0000b\r\n'), status: 400 },
  { clause: '9110 5.5', head: get('X: a\u007f\r\n'), status: 400 },
  { clause: '9112 5', head: get('X\r\n'), status: 400 },
  { clause: '9112 5', head: get(': x\r\n'), status: 400 },
  { clause: '9110 5.6.2', head: get('X(y): z\r\n'), status: 400 },
  { clause: '9110 5.6.2', head: get('\u00fc: z\r\n'), status: 400 },
  { clause: '9112 3.2', head: 'GET / HTTP/1.1\r\n\r\n', status: 400 },
  { clause: '9112 3.2', head: get('Host: a\r\n'), status: 400 },
  { clause: '9112 3.2', head: 'GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n', status: 400 },
  { clause: '9112 3.2', head: 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', status: 400 },
  { clause: '9112 3.2', head: 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', status: 400 },
  { clause: '9112 3.2', head: 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n', status: 400 },
  { clause: '9110 5.3', head: get('If-Match: "1"\r\nIf-Match: "2"\r\n'), status: 400 },
  { clause: '9110 5.3', head: get('Range: bytes=0-1\r\nRange: bytes=2-3\r\n'), status: 400 },
  { clause: '9110 10.1.1', head: put('Content-Length: 1\r\nExpect: 200-ok\r\n'), status: 417 },
  // The request line.
  { clause: '9112 3', head: line('GET  / HTTP/1.1'), status: 400 },
  { clause: '9112 3', head: line('GET /  HTTP/1.1'), status: 400 },
  { clause: '9112 3', head: line('GET\t/ HTTP/1.1'), status: 400 },
  { clause: '9112 3', head: line('GET / HTTP/1.1 '), status: 400 },
  { clause: '9112 3', head: line(' GET / HTTP/1.1'), status: 400 },
  { clause: '9112 3', head: line('GET /'), status: 400 },
  { clause: '9112 3', head: line('GET'), status: 400 },
  { clause: '9112 3.1', head: line('G(T / HTTP/1.1'), status: 400 },
  { clause: '9112 2.3', head: line('GET / http/1.1'), status: 400 },
  { clause: '9112 2.3', head: line('GET / HTTP/1.'), status: 400 },
  { clause: '9112 2.3', head: line('GET / HTTP/11.1'), status: 400 },
  { clause: '9112 2.3', head: line('GET / HTTP/1.10'), status: 400 },
  { clause: '9110 15.6.6', head: line('GET / HTTP/2.0'), status: 505 },
  { clause: '9113 3.4', head: 'PRI / HTTP/2.0\r\n\r\n', status: 505 },
  { clause: '9112 3.2', head: line('GET kv/k HTTP/1.1'), status: 400 },
  { clause: '9112 3.2.4', head: line('GET * HTTP/1.1'), status: 400 },
  { clause: '9112 3.2.3', head: line('CONNECT a:80 HTTP/1.1'), status: 400 },
  { clause: '9112 3.2', head: line('GET /kv/a#b HTTP/1.1'), status: 400 },
  { clause: '9112 3.2', head: line('GET /kv/a\u0001 HTTP/1.1'), status: 400 },
  { clause: '9110 4.2.1', head: line('GET http:///kv/k HTTP/1.1'), status: 400 },
  { clause: '9110 4.2.1', head: line('GET http://:80/kv/k HTTP/1.1'), status: 400 },
  { clause: '9110 4.2.4', head: line('GET http://u@a/kv/k HTTP/1.1'), status: 400 },
  { clause: '9112 3.2.2', head: line('GET ftp://a/kv/k HTTP/1.1'), status: 400 },
  { clause: '3986 2.1', head: line('GET /kv/% HTTP/1.1'), status: 400 },
  { clause: '3986 2.1', head: line('GET /kv/%4 HTTP/1.1'), status: 400 },
  { clause: '3986 2.1', head: line('GET /kv/%4g HTTP/1.1'), status: 400 },
  { clause: '3986 2.1', head: line('GET /kv?prefix=%zz HTTP/1.1'), status: 400 },
  { clause: '9110 15.5.15', head: line(`GET /kv/${'k'.repeat(1025)} HTTP/1.1`), status: 414 },
  { clause: '9110 15.5.15', head: line(`GET /kv/${'%6B'.repeat(1024)}k HTTP/1.1`), status: 414 },
  { clause: '9110 15.5.15', head: line(`GET /${'k'.repeat(10240)} HTTP/1.1`), status: 414 },
  { clause: '9112 3', head: line(`GET /${'k'.repeat(20000)} HTTP/1.1`), status: 414 },
  { clause: '6585 5', head: get(`X: ${'x'.repeat(16384)}\r\n`), status: 431 },
]
