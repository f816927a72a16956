#!/usr/bin/env node
/** The far end of a run of the grid when it is Linux (scripts/linux-grid/run.mjs): a port that takes bytes, and one that gives them. */
import { createServer } from 'node:net'

const [sinkPort, sourcePort] = process.argv.slice(2).map(Number)
const CHUNK_BYTES = 256 << 10

const chunk = Buffer.alloc(CHUNK_BYTES)
const quiet = (socket) => socket.on('error', () => socket.destroy())

const sink = createServer((socket) => quiet(socket).resume())
const source = createServer((socket) => {
  const more = () => {
    while (socket.write(chunk));
  }
  quiet(socket).on('drain', more)
  more()
})
sink.listen(sinkPort, () => source.listen(sourcePort, () => console.log('ready')))
