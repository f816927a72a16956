/**
 * Peers on node:http for scripts/peers.sh.
 *
 *   node scripts/peers/http-store.mjs discard|lmdb|leveldb PORT DIRECTORY
 *
 * discard answers 204 when the body is in. lmdb and leveldb store the body under the request's path and answer when their
 * write is durable by their own means: LMDB commits with the writes of other requests, LevelDB with sync. GET reads it.
 */
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { PEER_PACKAGES, ROOT } from './packages.mjs'

const [, , kind, port, directory] = process.argv

/** An installed package: the project's own, or what scripts/setup.sh --for-peers installed. */
function load(name) {
  const folder = [join(ROOT, 'node_modules'), PEER_PACKAGES].find((candidate) => existsSync(join(candidate, name)))
  return createRequire(join(folder, 'resolve-from-here.js'))(name)
}

const STORES = {
  discard: () => undefined,
  lmdb: () => {
    const store = load('lmdb').open({ path: join(directory, 'lmdb'), encoding: 'binary', compression: false })
    return { put: (key, value) => store.put(key, value), get: (key) => store.getBinary(key) }
  },
  leveldb: () => {
    const { ClassicLevel } = load('classic-level')
    const store = new ClassicLevel(join(directory, 'leveldb'), { valueEncoding: 'buffer' })
    return { put: (key, value) => store.put(key, value, { sync: true }), get: (key) => store.get(key) }
  },
}

const store = STORES[kind]()

function discard(request, response) {
  request.on('end', () => response.writeHead(204).end())
  request.resume()
}

function keep(request, response) {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', async () => {
    try {
      await store.put(request.url, chunks.length === 1 ? chunks[0] : Buffer.concat(chunks))
      response.writeHead(204).end()
    } catch {
      response.writeHead(500).end()
    }
  })
}

async function read(request, response) {
  const value = await store.get(request.url)
  if (value === undefined) response.writeHead(404).end()
  else response.writeHead(200, { 'content-length': value.length }).end(value)
}

const server = createServer((request, response) => {
  if (store === undefined) discard(request, response)
  else if (request.method === 'PUT') keep(request, response)
  else read(request, response)
})
server.keepAliveTimeout = 0
server.listen(Number(port))
