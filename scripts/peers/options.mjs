/** The command line of scripts/peers.sh. Called by: peers.mjs. */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { PEERS, STREAM_PEERS } from './servers.mjs'

const NAMES = [...Object.keys(PEERS), ...STREAM_PEERS]

const USAGE = `usage: scripts/peers.sh [flags]
  --connections LIST   connections, one measurement each (default 1,16,64,256)
  --seconds N          length of one measurement (default 2)
  --rounds N           interleaved rounds; figures are medians, with the best and the worst (default 5)
  --bytes N            size of a value (default 1024)
  --method PUT|GET     what is measured (default PUT); for GET each stores the values first, nginx as files on tmpfs
  --only LIST          of ${NAMES.join(',')} (default: all that do the method)
  --streams LIST       iperf3: parallel streams (default 1,8)
  --svg DIR            write pictures there
  --profile DIR        have node write a CPU profile of packrat there
  --json               print one JSON document instead of tables`

export function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        connections: { type: 'string', default: '1,16,64,256' },
        seconds: { type: 'string', default: '2' },
        rounds: { type: 'string', default: '5' },
        bytes: { type: 'string', default: '1024' },
        method: { type: 'string', default: 'PUT' },
        only: { type: 'string' },
        streams: { type: 'string', default: '1,8' },
        svg: { type: 'string' },
        profile: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(USAGE)
      process.exit(0)
    }
    const { method } = values
    if (method !== 'PUT' && method !== 'GET') throw new Error('--method is PUT or GET')
    const only =
      values.only?.split(',') ?? NAMES.filter((name) => PEERS[name]?.methods.includes(method) ?? method === 'PUT')
    for (const name of only) {
      if (!NAMES.includes(name)) throw new Error(`--only: '${name}' is none of ${NAMES.join(', ')}`)
      if (PEERS[name]?.methods.includes(method) === false) throw new Error(`${name} does no ${method}`)
    }
    return {
      method,
      connections: wholeNumbers('--connections', values.connections),
      seconds: wholeNumbers('--seconds', values.seconds)[0],
      rounds: wholeNumbers('--rounds', values.rounds)[0],
      bytes: wholeNumbers('--bytes', values.bytes)[0],
      streams: wholeNumbers('--streams', values.streams),
      only,
      svg: values.svg && resolve(values.svg),
      profile: values.profile && resolve(values.profile),
      json: values.json,
    }
  } catch (error) {
    console.error(`peers: ${error.message}; see scripts/peers.sh --help`)
    return process.exit(2)
  }
}

function wholeNumbers(flag, list) {
  const numbers = list.split(',').map(Number)
  if (numbers.every((number) => Number.isInteger(number) && number > 0)) return numbers
  throw new Error(`${flag} '${list}': numbers must be whole, above 0`)
}
