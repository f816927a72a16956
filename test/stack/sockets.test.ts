/** Sockets in node:net's shape between two hosts over a memory pair: what node documents of them holds here. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FIN_WAIT_2_MS } from '../../stack/limits.ts'
import { SeededRandom } from '../../stack/random.ts'
import { connect, createServer, type Server, Socket } from '../../stack/sockets/index.ts'
import { announceSeed } from '../support/random.ts'
import { CLIENT, collect, pattern, SERVER, type SocketLab, until, withSocketLab } from '../support/socket-lab.ts'

const seed = announceSeed('sockets', 31)
const PORT = 7000

async function listen(lab: SocketLab, onConnection: (socket: Socket) => void, options = {}): Promise<Server> {
  const server = createServer({ network: lab.server, ...options }, onConnection)
  server.listen(PORT)
  await once(server, 'listening')
  return server
}

function open(lab: SocketLab, options = {}): Socket {
  return connect({ network: lab.client, host: SERVER, port: PORT, ...options })
}

async function closed(...emitters: (Socket | Server)[]): Promise<void> {
  await Promise.all(emitters.map((emitter) => once(emitter, 'close')))
}

async function errorOf(socket: Socket): Promise<NodeJS.ErrnoException> {
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
  return error
}

test('addresses, states and counts are those of node:net', async () => {
  await withSocketLab({ seed }, async (lab) => {
    let accepted: Socket | undefined
    const server = await listen(lab, (socket) => {
      accepted = socket
      socket.pipe(socket)
    })
    assert.equal(server.address(), { address: SERVER, family: 'IPv4', port: PORT })
    const socket = open(lab)
    assert.is(socket.connecting, true)
    assert.is(socket.pending, true)
    assert.is(socket.readyState, 'opening')
    assert.equal(socket.address(), {})
    await once(socket, 'connect')
    assert.is(socket.connecting, false)
    assert.is(socket.pending, false)
    assert.is(socket.readyState, 'open')
    assert.is(socket.remoteAddress, SERVER)
    assert.is(socket.remotePort, PORT)
    assert.is(socket.remoteFamily, 'IPv4')
    assert.is(socket.localAddress, CLIENT)
    socket.end('hello')
    assert.is(socket.bytesWritten, 5, 'counts what waits')
    assert.is((await collect(socket)).toString(), 'hello')
    assert.is(socket.bytesRead, 5)
    assert.is(socket.bytesWritten, 5)
    assert.is(accepted!.remoteAddress, CLIENT)
    assert.is(accepted!.remotePort, socket.localPort)
    assert.equal(accepted!.address(), { address: SERVER, family: 'IPv4', port: PORT })
    server.close()
    await closed(server)
    assert.is(socket.readyState, 'closed')
  })
})

test('bulk data goes both ways at once, byte for byte', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const bytes = pattern(8 << 20, seed)
    const server = await listen(lab, (socket) => socket.pipe(socket))
    const socket = open(lab)
    socket.end(bytes)
    const got = await collect(socket)
    assert.ok(got.equals(bytes))
    server.close()
    await closed(server)
  })
})

test('a slow reader closes the window, and holds the writer back', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const receiveLimitBytes = 256 << 10
    const total = 4 << 20
    let slow: Socket | undefined
    const server = await listen(
      lab,
      (socket) => {
        slow = socket
      },
      { pauseOnConnect: true, tcp: { receiveLimitBytes } },
    )
    const sendLimitBytes = 128 << 10
    const socket = open(lab, { tcp: { sendLimitBytes } })
    const bytes = pattern(total, seed)
    let written = false
    socket.write(bytes, () => {
      written = true
    })
    await until(() => lab.hostB.counters.tcp.zeroWindowProbes > 0, 'the sender probes a closed window')
    assert.is(written, false)
    const held = lab.poolB.totalBuffers - lab.poolB.freeBuffers
    assert.ok(held * 1000 < 2 * sendLimitBytes, `${held} buffers held by the sender`)
    assert.is(slow!.bytesRead, 0, 'nothing was copied before it was asked for')
    socket.end()
    slow!.resume()
    const got = await collect(slow!)
    assert.ok(got.equals(bytes))
    assert.is(written, true)
    slow!.end()
    server.close()
    await closed(server)
  })
})

test('a write larger than the pool goes out as buffers come back', async () => {
  await withSocketLab({ seed, buffers: 512 }, async (lab) => {
    const server = await listen(lab, (socket) => socket.resume().end())
    const socket = open(lab, { allowHalfOpen: true })
    socket.resume()
    const bytes = pattern(3 << 20, seed)
    socket.end(bytes)
    await closed(socket)
    assert.is(socket.bytesWritten, bytes.length)
    server.close()
    await closed(server)
  })
})

test('half-open connections go on in one direction', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(
      lab,
      async (socket) => {
        const request = await collect(socket)
        assert.is(socket.readyState, 'writeOnly')
        socket.end(`${request.length} bytes`)
      },
      { allowHalfOpen: true },
    )
    const socket = open(lab, { allowHalfOpen: true })
    socket.end(pattern(100_000, seed))
    assert.is((await collect(socket)).toString(), '100000 bytes')
    server.close()
    await closed(server)
  })
})

test('without allowHalfOpen the peer’s end is the end, and a write behind it is EPIPE', async () => {
  await withSocketLab({ seed }, async (lab) => {
    let error: NodeJS.ErrnoException | undefined
    const server = await listen(lab, (socket) => {
      socket.resume()
      socket.on('error', (raised) => {
        error = raised
      })
      socket.once('end', () => socket.write('late'))
    })
    const socket = open(lab, { allowHalfOpen: true })
    socket.resume()
    socket.end('x')
    await closed(socket)
    assert.is(error?.code, 'EPIPE')
    server.close()
    await closed(server)
  })
})

test('a reset reaches the peer as ECONNRESET', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, (socket) => socket.once('data', () => socket.resetAndDestroy()))
    const socket = open(lab)
    socket.write('x')
    const error = await errorOf(socket)
    assert.is(error.code, 'ECONNRESET')
    assert.is(error.syscall, 'read')
    assert.is(error.errno, -104)
    server.close()
    await closed(server)
  })
})

test('resetAndDestroy while connecting waits for the connection', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, () => {})
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const socket = open(lab)
    socket.resetAndDestroy()
    await closed(socket)
    const [peer] = await accepted
    assert.is((await errorOf(peer)).code, 'ECONNRESET')
    server.close()
    await closed(server)
  })
})

test('destroying with unread data resets, destroying without sends what is queued', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, (socket) => {
      socket.once('readable', () => {
        if (socket.read(1)?.toString() === 'r') setTimeout(() => socket.destroy(), 20)
        else {
          socket.write('last words')
          socket.destroy()
        }
      })
    })
    const unread = open(lab)
    unread.write(Buffer.concat([Buffer.from('r'), pattern(1 << 20, seed)]))
    assert.is((await errorOf(unread)).code, 'ECONNRESET')

    const read = open(lab)
    read.write('x')
    assert.is((await collect(read)).toString(), 'last words')
    server.close()
    await closed(server)
  })
})

test('data for a socket that was destroyed is answered with RST', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, (socket) => socket.destroy())
    const socket = open(lab, { allowHalfOpen: true })
    socket.resume()
    await once(socket, 'end')
    socket.write('too late')
    assert.is((await errorOf(socket)).code, 'ECONNRESET')
    server.close()
    await closed(server)
  })
})

test('nobody listens: ECONNREFUSED with address and port', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const error = await errorOf(open(lab))
    assert.is(error.code, 'ECONNREFUSED')
    assert.is(error.message, `connect ECONNREFUSED ${SERVER}:${PORT}`)
  })
})

test('a peer that does not answer: ETIMEDOUT', async () => {
  const filter = (frame: Uint8Array): 'drop' | 'pass' => (frame[12] === 8 && frame[13] === 0 ? 'drop' : 'pass')
  await withSocketLab({ seed, filter }, async (lab) => {
    const socket = open(lab, { tcp: { userTimeoutMs: 500 } })
    assert.is((await errorOf(socket)).code, 'ETIMEDOUT')
  })
})

test('a peer that never closes is waited for FIN_WAIT_2_MS, then reset', async () => {
  const real = globalThis.setTimeout
  const hasten = (action: () => void, ms?: number): NodeJS.Timeout => real(action, ms === FIN_WAIT_2_MS ? 150 : ms)
  globalThis.setTimeout = hasten as typeof setTimeout
  try {
    await withSocketLab({ seed }, async (lab) => {
      const server = await listen(lab, (socket) => socket.destroy())
      const socket = open(lab, { allowHalfOpen: true })
      socket.resume()
      await once(socket, 'end')
      assert.is((await errorOf(socket)).code, 'ECONNRESET')
      server.close()
      await closed(server)
    })
  } finally {
    globalThis.setTimeout = real
  }
})

test('a peer that keeps its window shut is not waited for for ever by a socket that is gone', async () => {
  const real = globalThis.setTimeout
  const hasten = (action: () => void, ms?: number): NodeJS.Timeout => real(action, ms === FIN_WAIT_2_MS ? 400 : ms)
  globalThis.setTimeout = hasten as typeof setTimeout
  try {
    await withSocketLab({ seed }, async (lab) => {
      const server = await listen(lab, (socket) => {
        socket.write(pattern(200_000, seed))
        socket.destroy()
      })
      const socket = open(lab) // reads nothing beyond its buffer
      assert.is((await errorOf(socket)).code, 'ECONNRESET')
      server.close()
      await closed(server)
    })
  } finally {
    globalThis.setTimeout = real
  }
})

test('misuse is answered with the codes of node:net', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const code = (expected: string) => (error: NodeJS.ErrnoException) => error.code === expected
    const unused = new Socket({ network: lab.client })
    assert.is(unused.pending, true)
    const written = once(unused, 'error') as Promise<[NodeJS.ErrnoException]>
    unused.write('x')
    assert.is((await written)[0].code, 'ERR_SOCKET_CLOSED')
    const reset = new Socket({ network: lab.client })
    const resetError = errorOf(reset)
    reset.resetAndDestroy()
    assert.is((await resetError).code, 'ERR_SOCKET_CLOSED')
    assert.throws(() => open(lab, { port: 65_536 }), code('ERR_SOCKET_BAD_PORT'))
    assert.throws(() => open(lab, { port: 'x' }), code('ERR_SOCKET_BAD_PORT'))

    const server = await listen(lab, (socket) => socket.resume())
    assert.throws(() => server.listen(PORT + 1), code('ERR_SERVER_ALREADY_LISTEN'))
    const socket = open(lab)
    assert.throws(() => socket.connect({ host: SERVER, port: PORT }), code('ERR_SOCKET_ALREADY_CONNECTED'))
    await once(socket, 'connect')
    assert.throws(() => socket.setTimeout(-1), RangeError)
    socket.resume()
    socket.destroySoon()
    await closed(socket)
    server.close()
    await closed(server)
    assert.is(server.listening, false)
    assert.is(server.address(), null)
    const notRunning = await new Promise<Error | undefined>((resolve) => server.close(resolve))
    assert.ok(code('ERR_SERVER_NOT_RUNNING')(notRunning!))
  })
})

test('no route: ENETUNREACH', async () => {
  await withSocketLab({ seed }, async (lab) => {
    assert.is((await errorOf(open(lab, { host: '192.0.2.1' }))).code, 'ENETUNREACH')
  })
})

test('names are resolved by the given lookup, and unknown without', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const unknown = open(lab, { host: 'server.test' })
    assert.is((await errorOf(unknown)).code, 'ENOTFOUND')

    const server = await listen(lab, (socket) => socket.end('hi'))
    const socket = open(lab, {
      host: 'server.test',
      lookup: (_host: string, _options: object, callback: (error: null, address: string, family: number) => void) =>
        setImmediate(callback, null, SERVER, 4),
    })
    assert.is((await collect(socket)).toString(), 'hi')
    server.close()
    await closed(server)
  })
})

test('writes before the connection stands are sent when it does; destroying before leaves nothing', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, (socket) => socket.pipe(socket))
    const socket = open(lab)
    socket.cork()
    socket.write('a')
    socket.write('b')
    socket.uncork()
    socket.end('c')
    assert.is((await collect(socket)).toString(), 'abc')

    const given = open(lab)
    given.end('never')
    given.destroy()
    await closed(given)
    server.close()
    await closed(server)
  })
})

test('an idle socket says so, once, until something moves', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, (socket) => socket.pipe(socket))
    const socket = open(lab)
    let timeouts = 0
    socket.setTimeout(40, () => timeouts++)
    socket.on('timeout', () => timeouts++)
    socket.resume()
    for (let turn = 0; turn < 5; turn++) {
      socket.write('x')
      await new Promise((resolve) => setTimeout(resolve, 15))
    }
    assert.is(timeouts, 0)
    await until(() => timeouts >= 2, 'both listeners')
    await new Promise((resolve) => setTimeout(resolve, 150))
    assert.is(timeouts, 2)
    socket.write('x')
    await until(() => timeouts >= 3, 'idle again')
    socket.end()
    server.close()
    await closed(server)
  })
})

test('a server refuses a port in use, more connections than it wants, and closes after its last socket', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const sockets: Socket[] = []
    const server = await listen(lab, (socket) => sockets.push(socket.resume()))
    const second = createServer({ network: lab.server })
    second.listen(PORT)
    const [inUse] = (await once(second, 'error')) as [NodeJS.ErrnoException]
    assert.is(inUse.code, 'EADDRINUSE')

    server.maxConnections = 1
    const first = open(lab)
    await until(() => sockets.length === 1, 'the first is accepted')
    const count = await new Promise((resolve) => server.getConnections((_error, connections) => resolve(connections)))
    assert.is(count, 1)
    const [[drop], reset] = await Promise.all([once(server, 'drop'), errorOf(open(lab))])
    assert.is(drop.remoteAddress, CLIENT)
    assert.is(reset.code, 'ECONNRESET')

    let closedEarly = true
    server.close(() => assert.is(closedEarly, false))
    await new Promise((resolve) => setTimeout(resolve, 20))
    closedEarly = false
    first.end()
    await closed(server)
    assert.is(sockets.length, 1)
    const refused = open(lab)
    assert.is((await errorOf(refused)).code, 'ECONNREFUSED')
  })
})

test('nothing is missing or twice over a link that loses and duplicates', async () => {
  const random = new SeededRandom(seed)
  const filter = (): 'drop' | 'duplicate' | 'pass' => {
    const draw = random.below(100)
    return draw < 2 ? 'drop' : draw < 4 ? 'duplicate' : 'pass'
  }
  await withSocketLab({ seed, filter }, async (lab) => {
    const server = await listen(lab, (socket) => socket.pipe(socket))
    const bytes = pattern(300_000, seed)
    const echoes = await Promise.all(
      Array.from({ length: 4 }, () => {
        const socket = open(lab)
        socket.end(bytes)
        return collect(socket)
      }),
    )
    assert.ok(echoes.every((echo) => echo.equals(bytes)))
    server.close()
    await closed(server)
  })
})

test('100 connections at once', async () => {
  await withSocketLab({ seed, buffers: 8192 }, async (lab) => {
    const server = await listen(lab, (socket) => socket.pipe(socket))
    const bytes = pattern(20_000, seed)
    const echoes = await Promise.all(
      Array.from({ length: 100 }, () => {
        const socket = open(lab)
        socket.end(bytes)
        return collect(socket)
      }),
    )
    assert.ok(echoes.every((echo) => echo.equals(bytes)))
    server.close()
    await closed(server)
  })
})

test('setKeepAlive probes a silent peer, and stops to', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, (socket) => socket.resume())
    const socket = open(lab)
    await once(socket, 'connect')
    const { tcp } = lab.hostB.counters
    socket.setKeepAlive(true, 30)
    await until(() => tcp.keepAliveProbes === 1, 'a probe')
    socket.setKeepAlive(false)
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.is(tcp.keepAliveProbes, 1)
    socket.end()
    socket.resume()
    server.close()
    await closed(server)
  })
})

test('setNoDelay lets small writes go that wait for an acknowledgement', async () => {
  // The link loses every ACK of the server: what Nagle holds back stays held back.
  let mute = false
  const filter = (frame: Uint8Array, direction: string): 'drop' | 'pass' =>
    mute && direction === 'a-to-b' && frame[12] === 8 && frame[13] === 0 ? 'drop' : 'pass'
  await withSocketLab({ seed, filter }, async (lab) => {
    let got = ''
    const server = await listen(lab, (socket) =>
      socket.on('data', (data) => {
        got += data
      }),
    )
    const socket = open(lab)
    await once(socket, 'connect')
    mute = true
    socket.write('a')
    await until(() => got === 'a', 'the first byte arrives')
    socket.write('b')
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.is(got, 'a')
    socket.setNoDelay(true)
    await until(() => got === 'ab', 'the second byte arrives')
    mute = false
    socket.end()
    socket.resume()
    server.close()
    await closed(server)
  })
})

test('events come in the asynchronous context of their socket', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const storage = new AsyncLocalStorage<string>()
    const atServer: (string | undefined)[] = []
    const server = await listen(lab, (socket) => {
      atServer.push(storage.getStore())
      socket.on('data', (data) => {
        atServer.push(storage.getStore())
        socket.end(data)
      })
    })
    const contexts = await Promise.all(
      ['one', 'two', 'three'].map((name) =>
        storage.run(name, async () => {
          const socket = open(lab)
          socket.write('x')
          const seen = new Set<string | undefined>()
          for (const event of ['connect', 'data', 'end', 'close']) socket.on(event, () => seen.add(storage.getStore()))
          await once(socket, 'close')
          return [...seen]
        }),
      ),
    )
    assert.equal(contexts, [['one'], ['two'], ['three']])
    assert.equal(new Set(atServer), new Set([undefined]))
    server.close()
    await closed(server)
  })
})

test('what a handler throws is uncaught, and harms neither the burst nor other sockets', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, (socket) => {
      socket.on('data', (data) => {
        if (data.toString() === 'bad') throw new Error('handler failed')
        socket.end(data)
      })
    })
    const uncaught = once(process, 'uncaughtException') as Promise<[Error]>
    const bad = open(lab)
    const good = open(lab)
    bad.write('bad')
    good.write('good')
    assert.is((await uncaught)[0].message, 'handler failed')
    assert.is((await collect(good)).toString(), 'good')
    bad.destroy()
    server.close()
    await closed(server)
  })
})

test('closing the host ends its sockets with ECONNABORTED', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await listen(lab, (socket) => socket.resume().on('error', () => {}))
    const socket = open(lab)
    await once(socket, 'connect')
    lab.hostB.close(lab.clock.nowUs())
    assert.is((await errorOf(socket)).code, 'ECONNABORTED')
    server.close()
    await closed(server)
  })
})

test.run()
