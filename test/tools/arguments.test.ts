/** Command lines: typed values from one table, unknown flags are errors, each error is one line. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  choice,
  count,
  EXIT_OK,
  EXIT_USAGE,
  helpText,
  parseCommand,
  runCommand,
  size,
  text,
  toggle,
  UsageError,
} from '../../tools/arguments.ts'
import { checkRoutes, routes } from '../../tools/route-flag.ts'
import { tcpKnobs } from '../../tools/tcp-knobs.ts'

const command = {
  name: 'packrat sample',
  summary: 'what a command looks like',
  operands: [
    { name: 'FILE', help: 'the region' },
    { name: 'KEY', help: 'a key', optional: true },
  ],
  flags: {
    json: toggle('print one JSON document'),
    out: text('FILE', 'where to write'),
    device: text('NAME', 'the link', { default: 'tap:packrat0' }),
    limit: count('N', 'at most N', { default: 10, minimum: 1, maximum: 1000 }),
    'pm-size': size('bytes of the region', { default: 2 ** 30, minimum: 2 ** 20 }),
    integrity: choice(['tcp', 'crc32c'], 'what guards values', { default: 'tcp' }),
    tcp: tcpKnobs('knobs'),
    route: routes('routes'),
  },
}

function refusal(...argv: string[]): string {
  try {
    parseCommand(command, argv)
  } catch (error) {
    assert.instance(error, UsageError)
    assert.is((error as UsageError).code, 'USAGE')
    return (error as UsageError).message
  }
  throw new Error(`not refused: ${argv.join(' ')}`)
}

/** Runs with standard output and error captured. */
async function captured(run: () => number | Promise<number>) {
  const { log, error } = console
  const out: string[] = []
  const err: string[] = []
  console.log = (line: string) => out.push(line)
  console.error = (line: string) => err.push(line)
  try {
    return { status: await run(), out, err }
  } finally {
    console.log = log
    console.error = error
  }
}

test('flags not given have their defaults', () => {
  const { flags, operands, help } = parseCommand(command, ['a.pm'])
  assert.equal(flags, {
    json: false,
    out: undefined,
    device: 'tap:packrat0',
    limit: 10,
    'pm-size': 2 ** 30,
    integrity: 'tcp',
    tcp: {},
    route: [],
  })
  assert.equal(operands, ['a.pm'])
  assert.not(help)
})

test('values come typed, in both spellings, before and after operands', () => {
  const { flags, operands } = parseCommand(command, [
    '--json',
    '--limit=7',
    'a.pm',
    '--pm-size',
    '8M',
    'key',
    '--integrity',
    'crc32c',
  ])
  assert.is(flags.json, true)
  assert.is(flags.limit, 7)
  assert.is(flags['pm-size'], 8 << 20)
  assert.is(flags.integrity, 'crc32c')
  assert.equal(operands, ['a.pm', 'key'])
})

test('a flag that may be given again adds up', () => {
  const { flags } = parseCommand(command, ['--tcp', 'sack=0', 'a.pm', '--tcp=retries2=3', '--tcp', 'sack=1'])
  assert.equal(flags.tcp, { sack: true, retries: 3 })
  assert.match(refusal('a.pm', '--tcp', 'sack=0', '--tcp', 'rmem=1'), /--tcp knows no rmem; it is one of .*sack, /)
  assert.match(refusal('a.pm', '--tcp', 'sack=2'), /--tcp 'sack=2' is refused: sack must be 0\.\.1/)
  assert.match(refusal('a.pm', '--tcp', 'sack'), /it must be NAME=VALUE/)
})

test('after -- everything is an operand', () => {
  assert.equal(parseCommand(command, ['a.pm', '--', '--json']).operands, ['a.pm', '--json'])
})

test('an unknown flag is refused, and a typing error gets a proposal', () => {
  assert.match(refusal('a.pm', '--wrong'), /unknown flag --wrong; see packrat sample --help/)
  assert.match(refusal('a.pm', '--limt', '3'), /did you mean --limit\?/)
  assert.match(refusal('a.pm', '--constructor'), /unknown flag --constructor/)
  assert.match(refusal('a.pm', '-x'), /unknown flag -x/)
})

test('each refusal says what, why and what to do, in one line', () => {
  const refusals = [
    [refusal('a.pm', '--limit', '0'), /--limit '0' is refused: it must be a whole number from 1 to 1000/],
    [refusal('a.pm', '--limit', '7.5'), /whole number/],
    [refusal('a.pm', '--pm-size', '1K'), /at least 1M/],
    [refusal('a.pm', '--pm-size', 'big'), /a size such as 64K/],
    [refusal('a.pm', '--integrity', 'md5'), /one of tcp, crc32c/],
    [refusal('a.pm', '--device', ''), /not empty/],
    [refusal('a.pm', '--json=yes'), /--json takes no value/],
    [refusal('a.pm', '--out'), /--out needs a value; write --out FILE/],
    [refusal(), /FILE is missing: the region; usage: packrat sample FILE \[KEY\] \[flags\]/],
    [refusal('a.pm', 'key', 'more'), /'more' is one operand too many/],
  ] as const
  for (const [message, pattern] of refusals) {
    assert.match(message, pattern)
    assert.not.match(message, /\n/)
  }
})

test('the help text names every flag, its value and its default', () => {
  const help = helpText(command)
  assert.match(help, /^usage: packrat sample FILE \[KEY\] \[flags\]$/m)
  assert.match(help, /--pm-size SIZE +bytes of the region \(default 1G\)/)
  assert.match(help, /--integrity tcp\|crc32c +what guards values \(default tcp\)/)
  assert.match(help, /--json +print one JSON document$/m)
  for (const name of Object.keys(command.flags)) assert.ok(help.includes(`--${name}`), name)
})

test('--help prints the help and ends well, even without the operands', async () => {
  const result = await captured(() => runCommand(command, ['--help'], () => assert.unreachable() as never))
  assert.is(result.status, EXIT_OK)
  assert.equal(result.out, [helpText(command)])
  assert.equal(result.err, [])
})

test('wrong usage is one line on standard error and status 2; the command does not run', async () => {
  const result = await captured(() => runCommand(command, ['--nope'], () => assert.unreachable() as never))
  assert.is(result.status, EXIT_USAGE)
  assert.equal(result.out, [])
  assert.is(result.err.length, 1)
  assert.match(result.err[0]!, /^packrat sample: unknown flag --nope/)
})

test('the status of the command is the status of the program', async () => {
  const result = await captured(() => runCommand(command, ['a.pm', '--limit', '3'], async ({ limit }) => limit))
  assert.is(result.status, 3)
})

test('other errors of the command pass through', () => {
  assert.throws(
    () =>
      runCommand(command, ['a.pm'], () => {
        throw new TypeError('broken')
      }),
    /broken/,
  )
})

test('routes add up, and one that cannot be is refused in a line', () => {
  const { flags } = parseCommand(command, ['a.pm', '--route', '10.1.0.0/16=10.77.0.1', '--route', '::/0=fe80::1'])
  assert.equal(
    flags.route.map(({ network, prefixLength, gateway }) => `${network}/${prefixLength} via ${gateway}`),
    ['10.1.0.0/16 via 10.77.0.1', '::/0 via fe80::1'],
  )
  assert.match(refusal('a.pm', '--route', '10.1.0.1/16=10.77.0.1'), /a network and a neighbour/)
  const at = (address: string, address6?: string): void =>
    checkRoutes({ address, gateway: undefined, address6 }, flags.route)
  at('10.77.0.2/24', 'fd77::2/64')
  assert.throws(() => at('10.77.0.2/24'), /give --address6/)
  assert.throws(() => at('10.88.0.2/24', 'fd77::2/64'), /--route: .*10\.77\.0\.1 is not on the link/)
})

test.run()
