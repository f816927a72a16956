/** The address for monitoring, on the kernel's own network. Called by: serve. */
import { createServer, type Server } from 'node:http'
import { PackratError } from '../storage/errors.ts'

/** /stats on the host's own network, for monitoring. */
export async function openAdmin(address: string, stats: () => object): Promise<Server | undefined> {
  if (address === 'none') return undefined
  const colon = address.lastIndexOf(':')
  const port = Number(address.slice(colon + 1))
  if (colon < 1 || !Number.isInteger(port) || port < 1 || port > 65535) {
    throw new PackratError('ADMIN', `--admin '${address}' is no address and port; write 127.0.0.1:9177 or none`)
  }
  const server = createServer((request, response) => {
    const found = request.url === '/stats' || request.url === '/'
    response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' })
    response.end(`${JSON.stringify(found ? stats() : { error: 'only /stats is here' })}\n`)
  })
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        new PackratError('ADMIN', `cannot serve --admin ${address}: ${error.message}; choose another address or none`),
      )
    })
    server.listen(port, address.slice(0, colon), () => resolve(server))
  })
}
