/** Sockets over the stack, in the shapes of node:net and node:dgram. See docs/sockets.md. */
export { createDatagramSocket, DatagramSocket, type DatagramSocketOptions, type RemoteInfo } from './datagram.ts'
export { Network, type NetworkOptions } from './network.ts'
export { createServer, type ListenOptions, Server, type ServerOptions } from './server.ts'
export { type AddressInfo, type ConnectOptions, connect, Socket, type SocketOptions } from './socket.ts'
