/**
 * The system calls: which there are, and which handler each has. A handler looks at the arguments once and returns an
 * attempt, which is made now and, if it would block, after every turn of the network.
 *
 * Called by: process.ts. Calls: calls-*.ts.
 */
import type { Attempt, Call } from './call.ts'
import { accept, bind, close, connect, listen, shutdown, socket } from './calls-connection.ts'
import { fcntl, getsockopt, ioctl, setsockopt } from './calls-control.ts'
import { read, readv, recv, recvfrom, recvmsg, send, sendmsg, sendto, write, writev } from './calls-data.ts'
import { poll } from './calls-poll.ts'
import { epollControl, epollCreate, epollWait } from './epoll.ts'
import { open, sendfile } from './files.ts'
import type { ScriptProcess } from './process.ts'

type Handler = (process: ScriptProcess, call: Call) => Attempt

const HANDLERS: Readonly<Record<string, Handler>> = {
  socket,
  bind,
  listen,
  accept,
  accept4: accept,
  connect,
  close,
  shutdown,
  read,
  readv,
  recv,
  recvfrom,
  recvmsg,
  write,
  writev,
  send,
  sendto,
  sendmsg,
  setsockopt,
  getsockopt,
  fcntl,
  ioctl,
  poll,
  epoll_create: epollCreate,
  epoll_create1: epollCreate,
  epoll_ctl: epollControl,
  epoll_wait: epollWait,
  open,
  sendfile,
}

/** Whether a call of this name can be made at all: known before the script runs. */
export function isKnownCall(name: string): boolean {
  return Object.hasOwn(HANDLERS, name)
}

export function prepareCall(process: ScriptProcess, call: Call): Attempt {
  return HANDLERS[call.action.name]!(process, call)
}
