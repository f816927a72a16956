/** Sockets over IPv6, between two hosts over a memory pair: the shapes of node:net and node:dgram, in both versions at once. */
import { once } from 'node:events'
import * as http from 'node:http'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { connect, createDatagramSocket, createServer, type Socket } from '../../stack/sockets/index.ts'
import { announceSeed } from '../support/random.ts'
import {
  CLIENT6,
  collect,
  pattern,
  SERVER,
  SERVER6,
  type SocketLab,
  type SocketLabOptions,
  withSocketLab,
} from '../support/socket-lab.ts'

const seed = announceSeed('sockets-ipv6', 46)
const PORT = 7000
/** MTU 1500 less IPv6's and UDP's headers. */
const PAYLOAD_MAX = 1452

function withIpv6(body: (lab: SocketLab) => Promise<void>, options: Partial<SocketLabOptions> = {}): Promise<void> {
  return withSocketLab({ seed, ipv6: true, ...options }, body)
}

async function echoServer(lab: SocketLab): Promise<{ close(): Promise<unknown>; sockets: Socket[] }> {
  const sockets: Socket[] = []
  const server = createServer({ network: lab.server }, (socket) => {
    sockets.push(socket)
    socket.pipe(socket)
  })
  server.listen(PORT)
  await once(server, 'listening')
  return { close: () => once(server.close(), 'close'), sockets }
}

test('one server serves both versions; each socket says which is its own', async () => {
  await withIpv6(async (lab) => {
    const server = await echoServer(lab)
    const bytes = pattern(300_000, seed)
    for (const [host, family] of [
      [SERVER6, 'IPv6'],
      [SERVER, 'IPv4'],
    ] as const) {
      const socket = connect({ network: lab.client, host, port: PORT })
      assert.is(socket.remoteFamily, undefined)
      await once(socket, 'connect')
      assert.equal([socket.remoteAddress, socket.remoteFamily, socket.localFamily], [host, family, family])
      socket.end(bytes)
      assert.ok((await collect(socket)).equals(bytes), host)
    }
    const [six, four] = server.sockets
    assert.equal([six!.remoteAddress, six!.remoteFamily], [CLIENT6, 'IPv6'])
    assert.equal(six!.address(), { address: SERVER6, family: 'IPv6', port: PORT })
    assert.is(four!.remoteFamily, 'IPv4')
    await server.close()
  })
})

test('an address is taken however it is written', async () => {
  await withIpv6(async (lab) => {
    const server = await echoServer(lab)
    const socket = connect({ network: lab.client, host: 'FD00:0:0::0001', port: PORT })
    await once(socket, 'connect')
    assert.is(socket.remoteAddress, SERVER6)
    socket.end()
    await collect(socket)
    await server.close()
  })
})

test('node:http over IPv6', async () => {
  await withIpv6(async (lab) => {
    const web = http.createServer((request, response) =>
      response.end(`${request.method} ${request.socket.remoteAddress}`),
    )
    const server = createServer({ network: lab.server }, (socket) => void web.emit('connection', socket))
    server.listen(80)
    await once(server, 'listening')
    web.emit('listening')
    const request = http.get({
      host: SERVER6,
      createConnection: () => connect({ network: lab.client, host: SERVER6, port: 80 }) as never,
    })
    const [response] = await once(request, 'response')
    assert.is((await collect(response)).toString(), `GET ${CLIENT6}`)
    assert.match(String(request.getHeader('host')), /^\[fd00::1\]/)
    await once(server.close(), 'close')
    web.close()
  })
})

test('names: whatever version the name has, if the host speaks it', async () => {
  await withIpv6(async (lab) => {
    const server = await echoServer(lab)
    const asked: unknown[] = []
    const lookup: import('node:net').LookupFunction = (_name, options, callback) => {
      asked.push(options.family)
      process.nextTick(callback, null, SERVER6, 6)
    }
    for (const family of [undefined, 6] as const) {
      const options = { network: lab.client, host: 'packrat.test', port: PORT, lookup, ...(family && { family }) }
      const socket = connect(options)
      const [, , version] = await once(socket, 'lookup')
      assert.is(version, 6)
      await once(socket, 'connect')
      socket.end()
      await collect(socket)
    }
    assert.equal(asked, [0, 6])
    await server.close()
  })
})

test('without a route, or without IPv6, there is no way', async () => {
  await withIpv6(async (lab) => {
    const [error] = await once(connect({ network: lab.client, host: '2001:db8::1', port: 80 }), 'error')
    assert.equal([error.code, error.address], ['ENETUNREACH', '2001:db8::1'])
  })
  await withSocketLab({ seed }, async (lab) => {
    const [error] = await once(connect({ network: lab.client, host: SERVER6, port: 80 }), 'error')
    assert.is(error.code, 'ENETUNREACH')
  })
})

test('a port that nobody has is refused', async () => {
  await withIpv6(async (lab) => {
    const [error] = await once(connect({ network: lab.client, host: SERVER6, port: 81 }), 'error')
    assert.is(error.code, 'ECONNREFUSED')
  })
})

test('datagrams of every size that fits, with their sender; longer ones are refused', async () => {
  await withIpv6(async (lab) => {
    const server = createDatagramSocket({ network: lab.server, type: 'udp6' }, (message, remote) =>
      server.send(message, remote.port, remote.address),
    )
    server.bind(PORT)
    await once(server, 'listening')
    assert.equal(server.address(), { address: SERVER6, family: 'IPv6', port: PORT })
    const client = createDatagramSocket({ network: lab.client, type: 'udp6' })
    for (const host of [SERVER6, SERVER])
      for (const size of [0, 1, 101, PAYLOAD_MAX, PAYLOAD_MAX + 1, 20_001]) {
        const bytes = pattern(size, seed)
        client.send(bytes, PORT, host)
        const [message, remote] = await once(client, 'message')
        assert.ok(message.equals(bytes), `${size} bytes`)
        assert.equal(remote, { address: host, family: host === SERVER6 ? 'IPv6' : 'IPv4', port: PORT, size })
      }
    client.send(pattern(65_528, seed), PORT, SERVER6)
    const [error] = await once(client, 'error')
    assert.is(error.code, 'EMSGSIZE')
    await Promise.all([server, client].map((socket) => once(socket.close(), 'close')))
  })
})

test('a closed port refuses a connected socket; a socket of type udp4 does not hear IPv6', async () => {
  await withIpv6(async (lab) => {
    const deaf = createDatagramSocket({ network: lab.server }, () => assert.unreachable())
    deaf.bind(PORT)
    await once(deaf, 'listening')
    const client = createDatagramSocket({ network: lab.client, type: 'udp6' })
    client.connect(PORT, SERVER6)
    await once(client, 'connect')
    assert.equal(client.remoteAddress(), { address: SERVER6, family: 'IPv6', port: PORT })
    client.send('anybody there?')
    const [error] = await once(client, 'error')
    assert.is(error.code, 'ECONNREFUSED')
    assert.throws(() => deaf.send('x', PORT, CLIENT6), /is an IPv6 address/)
    await Promise.all([deaf, client].map((socket) => once(socket.close(), 'close')))
  })
})

test.run()
