/**
 * What others have written for node:net's sockets runs on the stack's unchanged: node:http server and client, node:tls,
 * undici, Fastify.
 */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import * as http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as tls from 'node:tls'
import { fastify } from 'fastify'
import { Client } from 'undici'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { connect, createServer, type Socket } from '../../stack/sockets/index.ts'
import { announceSeed } from '../support/random.ts'
import { collect, pattern, SERVER, type SocketLab, withSocketLab } from '../support/socket-lab.ts'

const seed = announceSeed('sockets-protocols', 37)
const PORT = 80
const OPENSSL_TIMEOUT_MS = 20_000

type Connect = () => Socket

/** Hands a listener's sockets to `accept` while `body` runs, then waits until all of them are closed. */
async function serving(
  accept: (socket: Socket) => void,
  body: (connectTo: Connect, lab: SocketLab) => Promise<void>,
): Promise<void> {
  await withSocketLab({ seed, buffers: 8192 }, async (lab) => {
    const listener = createServer({ network: lab.server, allowHalfOpen: true, noDelay: true }, accept)
    listener.listen(PORT)
    await once(listener, 'listening')
    await body(() => connect({ network: lab.client, host: SERVER, port: PORT }), lab)
    listener.close()
    await once(listener, 'close')
  })
}

async function servingHttp(
  handler: http.RequestListener,
  body: (connectTo: Connect, server: http.Server) => Promise<void>,
): Promise<void> {
  const server = http.createServer(handler)
  await serving(
    (socket) => server.emit('connection', socket),
    async (connectTo) => {
      server.emit('listening') // starts the bookkeeping behind closeAllConnections
      await body(connectTo, server)
      server.closeAllConnections()
    },
  )
}

async function request(
  options: http.RequestOptions,
  body?: Buffer,
): Promise<{ status: number | undefined; body: Buffer }> {
  const outgoing = http.request({ host: SERVER, port: PORT, ...options })
  outgoing.end(body)
  const [response] = (await once(outgoing, 'response')) as [http.IncomingMessage]
  return { status: response.statusCode, body: await collect(response) }
}

/** An agent whose connections are the stack's. */
function agentOver(connectTo: Connect, options: http.AgentOptions): http.Agent {
  const agent = new http.Agent(options)
  return Object.assign(agent, { createConnection: connectTo })
}

test('node:http serves and asks over the stack, large bodies both ways', async () => {
  await servingHttp(
    (incoming, response) => incoming.pipe(response),
    async (connectTo) => {
      const bytes = pattern(5 << 20, seed)
      const answer = await request({ method: 'POST', createConnection: connectTo }, bytes)
      assert.is(answer.status, 200)
      assert.ok(answer.body.equals(bytes))
    },
  )
})

test('a keep-alive agent reuses its connections', async () => {
  let connections = 0
  await servingHttp(
    (incoming, response) => response.end(incoming.url),
    async (connectTo, server) => {
      server.on('connection', () => connections++)
      const agent = agentOver(connectTo, { keepAlive: true, maxSockets: 4 })
      const answers = await Promise.all(Array.from({ length: 40 }, (_, index) => request({ path: `/${index}`, agent })))
      assert.equal(
        answers.map((answer) => answer.body.toString()),
        Array.from({ length: 40 }, (_, index) => `/${index}`),
      )
      agent.destroy()
    },
  )
  assert.is(connections, 4)
})

test('an aborted request ends both sides', async () => {
  let aborted: Promise<unknown> | undefined
  await servingHttp(
    (_incoming, response) => {
      response.write('beginning')
      aborted = once(response, 'close')
    },
    async (connectTo) => {
      const outgoing = http.request({ host: SERVER, createConnection: connectTo })
      outgoing.end()
      const [response] = (await once(outgoing, 'response')) as [http.IncomingMessage]
      await once(response, 'data')
      outgoing.destroy()
      await aborted
    },
  )
})

test('a slow client of node:http holds the server back', async () => {
  const total = 8 << 20
  const bytes = pattern(total, seed)
  let paused = 0
  await servingHttp(
    (_incoming, response) => {
      let at = 0
      const more = (): void => {
        while (at < total) {
          const part = bytes.subarray(at, at + 65_536)
          at += part.length
          if (response.write(part)) continue
          paused++
          response.once('drain', more)
          return
        }
        response.end()
      }
      more()
    },
    async (connectTo) => {
      const outgoing = http.request({ host: SERVER, createConnection: connectTo })
      outgoing.end()
      const [response] = (await once(outgoing, 'response')) as [http.IncomingMessage]
      await new Promise((resolve) => setTimeout(resolve, 100))
      assert.ok((await collect(response)).equals(bytes))
    },
  )
  assert.ok(paused > 0)
})

test('node:tls in both roles', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'packrat-tls-'))
  try {
    const made = spawnSync(
      'openssl',
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=packrat.test -keyout key -out cert'.split(
        ' ',
      ),
      { cwd: directory, stdio: 'ignore', timeout: OPENSSL_TIMEOUT_MS },
    )
    if (made.status !== 0) {
      console.log('SKIP: no openssl(1) to make a certificate with')
      return
    }
    const key = readFileSync(join(directory, 'key'))
    const cert = readFileSync(join(directory, 'cert'))
    const bytes = pattern(1 << 20, seed)
    await serving(
      (socket) => {
        const secure = new tls.TLSSocket(socket, { isServer: true, key, cert })
        secure.pipe(secure)
      },
      async (connectTo) => {
        const secure = tls.connect({ socket: connectTo(), ca: cert, servername: 'packrat.test' })
        await once(secure, 'secureConnect')
        assert.is(secure.authorized, true)
        secure.end(bytes)
        assert.ok((await collect(secure)).equals(bytes))
      },
    )
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('undici as client', async () => {
  await servingHttp(
    (incoming, response) => incoming.pipe(response),
    async (connectTo) => {
      const client = new Client(`http://${SERVER}`, {
        pipelining: 4,
        connect: (_options, callback) => {
          const socket = connectTo()
          socket.once('connect', () => callback(null, socket as never))
          socket.once('error', (error) => callback(error, null))
        },
      })
      const bytes = pattern(300_000, seed)
      const answers = await Promise.all(
        Array.from({ length: 20 }, async () => {
          const { statusCode, body } = await client.request({ path: '/', method: 'PUT', body: bytes })
          return { statusCode, body: Buffer.from(await body.arrayBuffer()) }
        }),
      )
      assert.ok(answers.every(({ statusCode, body }) => statusCode === 200 && body.equals(bytes)))
      await client.close()
    },
  )
})

test('Fastify as server', async () => {
  let server: http.Server | undefined
  const app = fastify({
    serverFactory: (handler) => {
      server = http.createServer(handler)
      return server
    },
  })
  app.get('/hello/:name', async (incoming) => ({ hello: (incoming.params as { name: string }).name }))
  app.post('/length', { bodyLimit: 4 << 20 }, async (incoming) => ({
    length: JSON.stringify(incoming.body).length,
  }))
  await app.ready()
  await serving(
    (socket) => server!.emit('connection', socket),
    async (connectTo) => {
      server!.emit('listening')
      const hello = await request({ path: '/hello/stack', createConnection: connectTo })
      assert.equal(JSON.parse(hello.body.toString()), { hello: 'stack' })
      const text = JSON.stringify('x'.repeat(1 << 20))
      const options = { method: 'POST', path: '/length', headers: { 'content-type': 'application/json' } }
      const length = await request({ ...options, createConnection: connectTo }, Buffer.from(text))
      assert.equal(JSON.parse(length.body.toString()), { length: text.length })
      server!.closeAllConnections()
    },
  )
  await app.close()
})

test.run()
