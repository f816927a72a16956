/** The address for monitoring, on the kernel's own network. Called by: serve. */
import { createServer, type Server } from 'node:http'
import { PackratError } from '../storage/errors.ts'
import type { Flag } from './arguments.ts'

export interface AdminAddress {
  readonly host: string
  readonly port: number
}

/** The flag --admin. */
export function adminAddress(help: string, shown: string): Flag<AdminAddress | 'none'> {
  return {
    placeholder: 'ADDR:PORT',
    help,
    shownDefault: shown,
    absent: readAddress(shown)!,
    read: readAddress,
    expects: 'an address and a port, such as 127.0.0.1:9177 or [::1]:9177, or none',
  }
}

function readAddress(text: string): AdminAddress | 'none' | undefined {
  if (text === 'none') return 'none'
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]]+)):(\d{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain
  const port = Number(digits)
  return host !== undefined && port >= 1 && port <= 65_535 ? { host, port } : undefined
}

/** /stats on the host's own network, for monitoring. */
export async function openAdmin(address: AdminAddress | 'none', stats: () => object): Promise<Server | undefined> {
  if (address === 'none') return undefined
  const { host, port } = address
  const server = createServer((request, response) => {
    const found = request.url === '/stats' || request.url === '/'
    response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' })
    response.end(`${JSON.stringify(found ? stats() : { error: 'only /stats is here' })}\n`)
  })
  return new Promise((resolve, reject) => {
    // Once it listens, an error is that of one connection (EMFILE): it goes unheard.
    server.on('error', ({ message }: NodeJS.ErrnoException) => {
      const what = `cannot serve --admin ${host}:${port}: ${message}; choose another address or none`
      reject(new PackratError('ADMIN', what))
    })
    server.listen(port, host, () => resolve(server))
  })
}
