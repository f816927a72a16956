/**
 * A peer for scripts/peers.mjs: node:http that reads each body, throws it away and answers 204.
 *
 *   node scripts/discard-server.mjs PORT
 */
import { createServer } from 'node:http'

const server = createServer((request, response) => {
  request.on('end', () => response.writeHead(204).end())
  request.resume()
})
server.keepAliveTimeout = 0
server.listen(Number(process.argv[2]))
