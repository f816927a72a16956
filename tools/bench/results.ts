/**
 * `npm run results`: writes docs/results.md from docs/results/: hand-written sections, and in them tables made from what the
 * benchmarks printed.
 *
 *   docs/results/NN-section.md   text; a line `<!-- table NAME -->` stands for the table of NAME.json
 *   docs/results/NAME.json       what a benchmark printed with --json, unchanged (scripts/measure.sh writes them)
 *   docs/results/*.svg           its pictures, which sections show
 *
 *   npm run results [-- --check]     --check: exit status 1 if docs/results.md is another one; nothing is written
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PackratError } from '../../storage/errors.ts'
import { EXIT_CANNOT, EXIT_OK, EXIT_PROBLEM, runCommand, text, toggle } from '../arguments.ts'
import { tableOf } from './markdown.ts'

const DOCS = fileURLToPath(new URL('../../../docs', import.meta.url))
const GENERATED =
  '<!-- Generated from docs/results/ by `npm run results`: change the sections there, not this file. -->\n'
const TABLE = /^<!-- table ([\w-]+) -->$/gm

const command = {
  name: 'npm run results',
  summary: 'writes docs/results.md from docs/results/',
  operands: [],
  flags: {
    check: toggle('only say whether docs/results.md is up to date'),
    docs: text('DIR', 'the documents', { default: DOCS }),
  },
}

/** The whole of results.md. @throws PackratError RESULTS for a table without its document, and one that cannot be read */
export function composeResults(docs: string): string {
  const folder = join(docs, 'results')
  const sections = readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .sort()
  const texts = sections.map((section) =>
    readFileSync(join(folder, section), 'utf8')
      .replace(TABLE, (_, name: string) => tableOf(readDocument(folder, section, name)))
      .trimEnd(),
  )
  return `${GENERATED}${texts.join('\n\n')}\n`
}

function readDocument(folder: string, section: string, name: string): object {
  try {
    return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as object
  } catch (error) {
    throw new PackratError(
      'RESULTS',
      `${section} has a table of ${name}, but ${name}.json cannot be read: ${(error as Error).message}; measure it with scripts/measure.sh ${name}`,
    )
  }
}

function run(argv: string[]): number | Promise<number> {
  return runCommand(command, argv, ({ check, docs }) => {
    const path = join(docs, 'results.md')
    const composed = composeResults(docs)
    if (!check) {
      writeFileSync(path, composed)
      return EXIT_OK
    }
    if (readFileSync(path, 'utf8') === composed) return EXIT_OK
    console.error('docs/results.md is not what docs/results/ gives: run npm run results')
    return EXIT_PROBLEM
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = await run(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof PackratError)) throw error
    console.error(`npm run results: ${error.message}`)
    process.exitCode = EXIT_CANNOT
  }
}
