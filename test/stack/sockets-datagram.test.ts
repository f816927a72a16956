/** UDP between two hosts over a memory pair, through sockets in node:dgram's shape, and at the edges of the protocol. */
import { once } from 'node:events'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createDatagramSocket, type DatagramSocket } from '../../stack/sockets/index.ts'
import { announceSeed } from '../support/random.ts'
import { CLIENT, pattern, SERVER, type SocketLab, until, withSocketLab } from '../support/socket-lab.ts'

const seed = announceSeed('sockets-datagram', 41)
const PORT = 7000
/** MTU 1500 less IPv4's and UDP's headers. */
const PAYLOAD_MAX = 1472
const UDP_CHECKSUM = 14 + 20 + 6

async function echoServer(lab: SocketLab): Promise<DatagramSocket> {
  const server = createDatagramSocket({ network: lab.server }, (message, remote) =>
    server.send(message, remote.port, remote.address),
  )
  server.bind(PORT)
  await once(server, 'listening')
  return server
}

async function closeAll(...sockets: DatagramSocket[]): Promise<void> {
  await Promise.all(sockets.map((socket) => once(socket.close(), 'close')))
}

test('echoes datagrams of every size there is, with their sender', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await echoServer(lab)
    assert.equal(server.address(), { address: SERVER, family: 'IPv4', port: PORT })
    const client = createDatagramSocket({ network: lab.client })
    for (const size of [0, 1, 2, 101, 1000, PAYLOAD_MAX, PAYLOAD_MAX + 1, 20_001, 65_507]) {
      const bytes = pattern(size, seed)
      client.send(bytes, PORT, SERVER)
      const [message, remote] = await once(client, 'message')
      assert.ok(message.equals(bytes), `${size} bytes`)
      assert.equal(remote, { address: SERVER, family: 'IPv4', port: PORT, size })
    }
    assert.is(lab.hostA.counters.udp.dropChecksum, 0)
    await closeAll(server, client)
  })
})

test('every form of send that node:dgram knows', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = await echoServer(lab)
    const client = createDatagramSocket({ network: lab.client })
    const answer = async (): Promise<string> => (await once(client, 'message'))[0].toString()
    client.send('text', PORT, SERVER)
    assert.is(await answer(), 'text')
    client.send(['in ', Buffer.from('parts')], PORT, SERVER)
    assert.is(await answer(), 'in parts')
    const sent = new Promise((resolve) =>
      client.send(Buffer.from('abcdef'), 2, 3, PORT, SERVER, (error, bytes) => resolve([error, bytes])),
    )
    assert.is(await answer(), 'cde')
    assert.equal(await sent, [null, 3])
    client.connect(PORT, SERVER)
    await once(client, 'connect')
    client.send('connected')
    assert.is(await answer(), 'connected')
    client.send(Buffer.from('abcdef'), 1, 2)
    assert.is(await answer(), 'bc')
    assert.throws(
      () => client.send('x', PORT, SERVER),
      (error: NodeJS.ErrnoException) => error.code === 'ERR_SOCKET_DGRAM_IS_CONNECTED',
    )
    assert.throws(
      () => client.send(Buffer.from('abc'), 2, 2),
      (error: NodeJS.ErrnoException) => error.code === 'ERR_BUFFER_OUT_OF_BOUNDS',
    )
    await closeAll(server, client)
    assert.throws(
      () => client.send('late', PORT, SERVER),
      (error: NodeJS.ErrnoException) => error.code === 'ERR_SOCKET_DGRAM_NOT_RUNNING',
    )
  })
})

test('a closed port answers "port unreachable", which a connected socket hears as ECONNREFUSED', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const client = createDatagramSocket({ network: lab.client })
    client.connect(PORT, SERVER)
    client.send('anybody?')
    const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException]
    assert.is(error.code, 'ECONNREFUSED')
    assert.is(lab.hostA.counters.icmp.errorsSent, 1)
    assert.is(lab.hostA.counters.udp.dropNoPort, 1)
    client.disconnect()
    client.send('anybody?', PORT, SERVER)
    await until(() => lab.hostB.counters.icmp.errorsReceived === 2, 'the second error comes, and nobody is told')
    await closeAll(client)
  })
})

test('a connected socket hears nobody but its peer', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const heard: string[] = []
    const server = createDatagramSocket({ network: lab.server }, (message) => heard.push(message.toString()))
    server.bind(PORT)
    server.connect(5001, CLIENT)
    assert.equal(server.remoteAddress(), { address: CLIENT, family: 'IPv4', port: 5001 })
    const peer = createDatagramSocket({ network: lab.client }).bind(5001)
    const other = createDatagramSocket({ network: lab.client }).bind(5002)
    other.send('other', PORT, SERVER)
    peer.send('peer', PORT, SERVER)
    await until(() => heard.length > 0, 'the peer is heard')
    assert.equal(heard, ['peer'])
    assert.is(lab.hostA.counters.udp.dropNoPort, 1)
    await closeAll(server, peer, other)
  })
})

test('what does not fit, or has no way, is an error of the send', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const client = createDatagramSocket({ network: lab.client })
    client.send(pattern(65_508, seed), PORT, SERVER)
    const [tooLong] = (await once(client, 'error')) as [NodeJS.ErrnoException]
    assert.is(tooLong.code, 'EMSGSIZE')
    const noRoute = await new Promise<NodeJS.ErrnoException | null>((resolve) =>
      client.send('x', PORT, '192.0.2.1', (error) => resolve(error)),
    )
    assert.is(noRoute?.code, 'ENETUNREACH')
    await closeAll(client)
  })
})

test('ports: in use, ephemeral, and free again', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const first = createDatagramSocket({ network: lab.server }).bind(PORT)
    const second = createDatagramSocket({ network: lab.server }).bind({ port: PORT })
    const [error] = (await once(second, 'error')) as [NodeJS.ErrnoException]
    assert.is(error.code, 'EADDRINUSE')
    await closeAll(first)
    second.bind(PORT)
    const any = createDatagramSocket({ network: lab.server }).bind()
    assert.ok(any.address().port >= 49_152)
    await closeAll(second, any)
  })
})

test('a reader that does not keep up loses datagrams, not the pool', async () => {
  await withSocketLab({ seed, buffers: 512 }, async (lab) => {
    const server = createDatagramSocket({ network: lab.server, receiveQueueBuffers: 8 }).bind(PORT)
    let received = 0
    server.on('message', () => received++)
    const client = createDatagramSocket({ network: lab.client })
    client.send('resolve the neighbour', PORT, SERVER)
    await until(() => received === 1, 'the first arrives')
    for (let index = 0; index < 100; index++) client.send('x', PORT, SERVER)
    await until(() => lab.hostA.counters.udp.received === 101, 'all arrive')
    await until(() => received + lab.hostA.counters.udp.dropQueue === 101, 'all are accounted for')
    assert.is(received, 9)
    await closeAll(server, client)
  })
})

test('checksums: a wrong one is dropped, none at all is taken (RFC 768)', async () => {
  let change: (frame: Uint8Array) => void = () => {}
  const filter = (frame: Uint8Array): 'pass' => {
    if (frame[12] === 8 && frame[13] === 0 && frame[23] === 17) change(frame)
    return 'pass'
  }
  await withSocketLab({ seed, filter }, async (lab) => {
    const server = createDatagramSocket({ network: lab.server }).bind(PORT)
    const client = createDatagramSocket({ network: lab.client })
    change = (frame) => {
      frame[frame.length - 1]! ^= 1
    }
    client.send('damaged', PORT, SERVER)
    await until(() => lab.hostA.counters.udp.dropChecksum === 1, 'it is dropped')
    change = (frame) => frame.fill(0, UDP_CHECKSUM, UDP_CHECKSUM + 2)
    client.send('unchecked', PORT, SERVER)
    const [message] = await once(server, 'message')
    assert.is(message.toString(), 'unchecked')
    change = (frame) => {
      frame[UDP_CHECKSUM - 1] = 7
    }
    client.send('no room for its own header', PORT, SERVER)
    await until(() => lab.hostA.counters.udp.dropLength === 1, 'it is dropped')
    await closeAll(server, client)
  })
})

test('closing the host closes its sockets, and gives back what waits in them', async () => {
  await withSocketLab({ seed }, async (lab) => {
    const server = createDatagramSocket({ network: lab.server }).bind(PORT)
    const client = createDatagramSocket({ network: lab.client })
    client.send('x', PORT, SERVER)
    await until(() => lab.hostA.counters.udp.received === 1, 'it arrives')
    const closed = once(server, 'close')
    lab.hostA.close(lab.clock.nowUs())
    await closed
    await closeAll(client)
  })
})

test.run()
