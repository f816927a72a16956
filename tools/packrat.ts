#!/usr/bin/env node
/** The command line: finds the command, runs it, and turns errors into one line and an exit status. */
import { PackratError } from '../storage/errors.ts'
import { EXIT_CANNOT, EXIT_OK, EXIT_USAGE, UsageError } from './arguments.ts'
import { inlineMore } from './compiler.ts'

type Run = (argv: string[]) => number | Promise<number>

interface CommandEntry {
  readonly summary: string
  readonly load: () => Promise<Run>
}

const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  serve: {
    summary: 'the daemon: a key-value store on its own TCP/IP stack',
    load: async () => (await import('./serve.ts')).serve,
  },
  inspect: { summary: 'what is in a region', load: async () => (await import('./inspect.ts')).inspect },
  list: { summary: 'the entries of a region, in key order', load: async () => (await import('./offline.ts')).list },
  get: { summary: 'one value of a region', load: async () => (await import('./offline.ts')).get },
  verify: {
    summary: 'checks every line, link and value of a region',
    load: async () => (await import('./verify.ts')).verify,
  },
  export: {
    summary: 'the stored packets as a capture for Wireshark',
    load: async () => (await import('./export.ts')).exportFrames,
  },
  import: {
    summary: 'records from such a capture, or from lines of JSON',
    load: async () => (await import('./import/command.ts')).importRecords,
  },
  grow: { summary: 'makes a region larger', load: async () => (await import('./grow.ts')).grow },
  compact: {
    summary: 'packs the values of a region into as few buffers as they need',
    load: async () => (await import('./compact.ts')).compact,
  },
  wire: {
    summary: 'two TAP interfaces joined by an impaired link',
    load: async () => (await import('./wire.ts')).wire,
  },
  iperf3: {
    summary: 'throughput to an iperf3 server',
    load: async () => (await import('./iperf3/command.ts')).iperf3,
  },
  scenario: {
    summary: 'scripted loss and reordering: what TCP makes of it',
    load: async () => (await import('./scenario/command.ts')).scenario,
  },
  packetdrill: {
    summary: "packetdrill's scripts against the stack, in virtual time",
    load: async () => (await import('./packetdrill/packetdrill.ts')).packetdrill,
  },
  bench: {
    summary: "the paper's measurements, repeated on this machine",
    load: async () => (await import('./bench/command.ts')).bench,
  },
  doctor: {
    summary: 'what this machine offers, and what packrat would choose',
    load: async () => (await import('./doctor.ts')).doctor,
  },
}

function usage(): string {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(12)} ${summary}`)
  return ['usage: packrat COMMAND [flags]', '', ...lines, '', 'packrat COMMAND --help tells more.'].join('\n')
}

async function main(argv: string[]): Promise<number> {
  const [name, ...rest] = argv
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    console.log(usage())
    return name === undefined ? EXIT_USAGE : EXIT_OK
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) {
    console.error(`packrat: unknown command '${name}'; one of ${Object.keys(COMMANDS).join(', ')}`)
    return EXIT_USAGE
  }
  inlineMore()
  try {
    return await (await command.load())(rest)
  } catch (error) {
    if (!(error instanceof PackratError)) throw error
    console.error(`packrat ${name}: ${error.message}`)
    return error instanceof UsageError ? EXIT_USAGE : EXIT_CANNOT
  }
}

process.exitCode = await main(process.argv.slice(2))
