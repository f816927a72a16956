/** `packrat grow FILE SIZE`: more room for a region that no daemon is serving. */
import { growRegionFile } from '../storage/grow.ts'
import { EXIT_OK, runCommand, toggle, UsageError } from './arguments.ts'
import { formatSize, parseSize } from './size.ts'

const command = {
  name: 'packrat grow',
  summary: 'makes a region larger; what is in it stays',
  operands: [
    { name: 'FILE', help: 'the region; no daemon may be serving it' },
    { name: 'SIZE', help: 'its new size: 2G' },
  ],
  flags: { json: toggle('print one JSON document') },
}

export const grow = (argv: string[]): number | Promise<number> =>
  runCommand(command, argv, (flags, [file, size]) => {
    const bytes = parseSize(size!)
    if (bytes === undefined) throw new UsageError(`'${size}' is no size; write it as 512M or 2G`)
    const growth = growRegionFile(file!, bytes)
    if (flags.json) console.log(JSON.stringify(growth))
    else {
      console.log(
        `${file}: ${formatSize(growth.bytesBefore)} grew to ${formatSize(growth.bytes)}: ` +
          `${growth.buffers} buffers instead of ${growth.buffersBefore}, in ${growth.extents} extents`,
      )
    }
    return EXIT_OK
  })
