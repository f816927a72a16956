/** Calls that open and end connections: socket, bind, listen, accept, connect, shutdown, close. */
import { type Attempt, type Call, done, failed } from './call.ts'
import { DatagramSocket } from './datagram-socket.ts'
import type { ScriptProcess } from './process.ts'
import type { Value } from './script.ts'
import { ScriptSocket } from './script-socket.ts'

const NON_BLOCKING = 'SOCK_NONBLOCK'

/** The socket that a call's first argument names; the call fails with EBADF if there is none. */
export function withSocket(
  process: ScriptProcess,
  call: Call,
  attempt: (socket: ScriptSocket) => ReturnType<Attempt>,
): Attempt {
  const socket = process.socket(call.number(0))
  return socket === undefined ? () => failed('EBADF') : () => attempt(socket)
}

/** socket(domain, type, protocol) */
export function socket(process: ScriptProcess, call: Call): Attempt {
  const domain = call.argument(0)
  const own = process.settings.socketVersion === 6 ? 'AF_INET6' : 'AF_INET'
  if (domain.kind === 'symbol' && domain.name !== own) call.unsupported(`sockets of ${domain.name}`)
  const kinds = symbols(call.argument(1))
  const protocol = call.argument(2)
  const datagrams = kinds.includes('SOCK_DGRAM')
  if (!datagrams && !kinds.includes('SOCK_STREAM')) call.unsupported(`sockets of ${kinds.join('|')}`)
  if (protocol.kind === 'symbol' && protocol.name !== (datagrams ? 'IPPROTO_UDP' : 'IPPROTO_TCP'))
    call.unsupported(`sockets of ${protocol.name}`)
  return () => {
    const { receiveMaxBytes, sendMaxBytes } = process.settings
    const Socket = datagrams ? DatagramSocket : ScriptSocket
    const created = new Socket(process.network, {
      receiveLimitBytes: receiveMaxBytes,
      receiveTuning: true,
      sendLimitBytes: sendMaxBytes,
      fullSegments: true, // the kernel's sockets copy: writes leave no seams
    })
    const { sendStartBytes } = process.settings
    if (sendStartBytes > 0) created.sendBuffer.setGrowth(sendStartBytes, sendMaxBytes)
    if (created instanceof DatagramSocket) process.datagrams = created
    created.nonBlocking = kinds.includes(NON_BLOCKING)
    return done(process.open(call, created))
  }
}

function symbols(value: Value): string[] {
  if (value.kind === 'or') return value.parts.flatMap(symbols)
  return value.kind === 'symbol' ? [value.name] : []
}

/** bind(fd, address, length) */
export function bind(process: ScriptProcess, call: Call): Attempt {
  const { port } = address(call, 1)
  return withSocket(process, call, (socket) => socket.bind(port))
}

/** listen(fd, backlog) */
export function listen(process: ScriptProcess, call: Call): Attempt {
  const backlog = call.number(1)
  return withSocket(process, call, (socket) => socket.listen(backlog))
}

/** accept(fd, address, length), accept4(..., flags) */
export function accept(process: ScriptProcess, call: Call): Attempt {
  const flags = call.action.arguments[3]
  const nonBlocking = flags !== undefined && symbols(flags).includes(NON_BLOCKING)
  return withSocket(process, call, (listener) => {
    if (!listener.isListening) return failed('EINVAL')
    const accepted = listener.accepted.take()
    if (accepted === undefined) return listener.nonBlocking ? failed('EAGAIN') : undefined
    accepted.nonBlocking = nonBlocking
    process.current = accepted
    process.accepted.push(accepted)
    return done(process.open(call, accepted))
  })
}

/** connect(fd, address, length) */
export function connect(process: ScriptProcess, call: Call): Attempt {
  const family = call.argument(1)
  if (family.kind === 'symbol' && family.name === 'AF_UNSPEC')
    return withSocket(process, call, (socket) => socket.disconnect())
  const { host, port } = address(call, 1)
  let started = false
  return withSocket(process, call, (socket) => {
    if (started) return socket.connected()
    started = true
    // What a connection that failed in the background has left is told once.
    if (socket.role === 'over') return failed(socket.takeError() || 'ECONNABORTED')
    process.current = socket
    const result = socket.connect(host, port)
    return socket.nonBlocking || result.errno !== 'EINPROGRESS' ? result : undefined
  })
}

/** shutdown(fd, how) */
export function shutdown(process: ScriptProcess, call: Call): Attempt {
  const how = call.number(1)
  return withSocket(process, call, (socket) => socket.shutdown(how))
}

/** close(fd) */
export function close(process: ScriptProcess, call: Call): Attempt {
  return () => {
    const descriptor = call.number(0)
    const socket = process.socket(descriptor)
    if (!process.close(descriptor)) return failed('EBADF')
    return socket === undefined ? done(0) : socket.close()
  }
}

/** An address of a script: `...` or a structure with sin_port and sin_addr; '' and 0 where it does not say. */
function address(call: Call, index: number): { host: string; port: number } {
  return addressOf(call, call.argument(index))
}

export function addressOf(call: Call, value: Value): { host: string; port: number } {
  if (value.kind === 'ellipsis') return { host: '', port: 0 }
  const fields = call.structOf(value)
  const family = fields.get('sa_family')
  if (family?.kind !== 'symbol' || (family.name !== 'AF_INET' && family.name !== 'AF_INET6'))
    call.unsupported(`addresses of ${family?.kind === 'symbol' ? family.name : 'an unnamed family'}`)
  const port = fields.get('sin_port') ?? fields.get('sin6_port')
  const host = fields.get('sin_addr') ?? fields.get('sin6_addr')
  // inet_addr("192.0.2.1"), inet_pton("fd3d::1"), inet_pton(AF_INET6, "fd3d::1")
  const text = host?.kind === 'apply' ? host.arguments.at(-1) : undefined
  return { host: text?.kind === 'text' ? text.value : '', port: port === undefined ? 0 : call.numberOf(port) }
}
