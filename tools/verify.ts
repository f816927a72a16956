/** `packrat verify FILE`: checks every header copy, line, link, chain and value of a region at rest, and changes nothing. */
import type { CorruptEntry } from '../storage/recovery.ts'
import { Region } from '../storage/region.ts'
import { verifyRegion } from '../storage/verification.ts'
import { EXIT_OK, EXIT_PROBLEM, runCommand, toggle } from './arguments.ts'
import { keyForJson, keyText, percentEncode } from './kv/key-codec.ts'

const command = {
  name: 'packrat verify',
  summary: 'checks every line, link and value of a region; exit status 1 if any is corrupt',
  operands: [{ name: 'FILE', help: 'the region; no daemon may be serving it' }],
  flags: { json: toggle('print one JSON document') },
}

/** A finding as the document has it: `key` is null where it cannot be read, all numbers are null for the header. */
function document({ key, meta, buffer, reason }: CorruptEntry): object {
  const named = key === undefined ? { key: null } : (JSON.parse(`{${keyForJson(key)}}`) as object)
  return { ...named, meta, buffer, reason }
}

function sentence({ key, meta, buffer, reason }: CorruptEntry): string {
  const name = key === undefined ? 'no readable key' : `key ${keyText(key) ?? percentEncode(key)}`
  return `CORRUPT ${name}: ${reason} (meta ${meta}, buffer ${buffer})`
}

export const verify = (argv: string[]): number | Promise<number> =>
  runCommand(command, argv, (flags, [file]) => {
    const region = new Region(file!, { readOnly: true })
    try {
      const headers = region.headerFaults()
      const { records, checked, corrupt } = verifyRegion(region, region.header.cleanShutdown)
      if (flags.json) {
        const header = headers.map((reason) => ({ key: null, meta: null, buffer: null, reason }))
        console.log(JSON.stringify({ records, checked, corrupt: [...header, ...corrupt.map(document)] }))
      } else {
        for (const reason of headers) console.log(`CORRUPT ${reason}`)
        for (const finding of corrupt) console.log(sentence(finding))
        const found = headers.length + corrupt.length
        console.log(`${records} records, ${checked} lines checked, ${found === 0 ? 'nothing' : found} corrupt`)
      }
      return headers.length + corrupt.length > 0 ? EXIT_PROBLEM : EXIT_OK
    } finally {
      region.close()
    }
  })
