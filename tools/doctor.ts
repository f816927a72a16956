/**
 * `packrat doctor`: what this machine offers (TUN, AF_XDP, DAX, cache flushes, eADR, locked memory, Node.js) and what
 * packrat would choose. Changes nothing. Called by packrat.ts; the facts come from machine.ts.
 *
 * Exit status: 0 if `packrat serve` could run here with its default flags, 1 if not.
 */
import { accessSync, constants, existsSync, readFileSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { XDP_MTU_MAX } from '../drivers/xdp-memory.ts'
import { EXIT_OK, EXIT_PROBLEM, runCommand, toggle } from './arguments.ts'
import {
  daxFinding,
  eadrFinding,
  type Finding,
  flushFinding,
  memlockFinding,
  netAdminFinding,
  nodeFinding,
  type Place,
  placeOf,
  tunFinding,
  type XdpInterface,
  xdpFinding,
  xdpInterfaces,
} from './machine.ts'
import { formatSize, REGION_BYTES_DEFAULT } from './size.ts'

const MIB = 1 << 20

const COMMAND = {
  name: 'packrat doctor',
  summary: 'what this machine offers, and what packrat would choose',
  operands: [],
  flags: { json: toggle('print one JSON document') },
}

export interface Diagnosis {
  /** Whether `packrat serve` could run here. */
  readonly canServe: boolean
  readonly findings: readonly Finding[]
  readonly places: readonly Place[]
  /** Interfaces for `--device xdp:`; empty where AF_XDP is not to be had. */
  readonly interfaces: readonly XdpInterface[]
}

export interface DiagnosisOptions {
  /** Folder that stands for `/`. */
  readonly root?: string
  readonly nodeVersion?: string
  /** Folders where a region could lie; the first is where `serve` would put it. */
  readonly folders?: readonly string[]
}

/** Two folders up in both trees: tools/ of the sources and dist/tools of what was built from them. */
function minimumNodeVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const { engines } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
      return String(engines.node).replace(/^>=\s*/, '')
    } catch {
      // Not this one.
    }
  }
  throw new Error('package.json of packrat is missing; install packrat again')
}

/** The addons are loaded only here, and late: the doctor must be able to say that they are not built. */
async function nativeFinding(): Promise<Finding> {
  const base = { name: 'native parts', required: true }
  try {
    const { cpu } = await import('../storage/pmem.ts')
    await import('../drivers/tap.ts')
    const { flush, crc } = cpu()
    return { ...base, state: 'ok', detail: `built; cache lines by ${flush}, CRC32C by ${crc}`, hint: '' }
  } catch (error) {
    const detail = `cannot be loaded: ${(error as Error).message.split('\n')[0]}`
    return { ...base, state: 'missing', detail, hint: 'npm run build' }
  }
}

/** The kernel has the last word: a program is loaded, and forgotten. */
async function tryXdp(finding: Finding): Promise<Finding> {
  if (finding.state !== 'ok') return finding
  try {
    const { xdpAvailability } = await import('../drivers/xdp.ts')
    const { available, reason = '' } = xdpAvailability()
    return available ? finding : { ...finding, state: 'missing', detail: reason }
  } catch {
    return finding // not built: that is a finding of its own
  }
}

/** Whether `serve` could create its region there, or write the one that is there. */
function tryPlace(place: Place): Place {
  if (place.durability === undefined) return place
  const refused = (evidence: string): Place => ({ ...place, durability: undefined, pinnable: false, evidence })
  const region = join(place.path, 'packrat.pm')
  const exists = existsSync(region)
  try {
    accessSync(exists ? region : place.path, constants.W_OK)
  } catch (error) {
    return refused(`no region can be written there: ${(error as NodeJS.ErrnoException).code}`)
  }
  const { bavail, bsize } = statfsSync(place.path)
  if (exists || bavail * bsize >= REGION_BYTES_DEFAULT) return place
  const free = formatSize(Math.floor((bavail * bsize) / MIB) * MIB)
  return refused(`${free} are free, less than the ${formatSize(REGION_BYTES_DEFAULT)} of --pm-size`)
}

export async function diagnose(options: DiagnosisOptions = {}): Promise<Diagnosis> {
  const { root = '/', nodeVersion = process.version, folders = [process.cwd(), '/dev/shm'] } = options
  const xdpDescribed = xdpFinding(root)
  const xdp = root === '/' ? await tryXdp(xdpDescribed) : xdpDescribed
  const findings = [
    nodeFinding(nodeVersion, minimumNodeVersion()),
    await nativeFinding(),
    tunFinding(root),
    netAdminFinding(root),
    xdp,
    memlockFinding(root),
    flushFinding(root),
    daxFinding(root),
    eadrFinding(root),
  ]
  const described = folders.map((folder) => placeOf(root, folder))
  const places = root === '/' ? described.map(tryPlace) : described
  const lacking = findings.some(({ required, state }) => required && state === 'missing')
  const interfaces = xdp.state === 'ok' ? xdpInterfaces(root, XDP_MTU_MAX) : []
  return { canServe: !lacking && places[0]?.durability !== undefined, findings, places, interfaces }
}

/** The table for people. */
export function diagnosisText({ canServe, findings, places, interfaces }: Diagnosis): string {
  const lines: string[] = []
  for (const { name, state, detail, hint, required } of findings) {
    const mark = state === 'missing' && required ? 'MISSING' : state
    lines.push(`${mark.padEnd(8)} ${name.padEnd(15)} ${detail}`)
    if (hint && state === 'missing') lines.push(`${' '.repeat(25)}-> ${hint}`)
  }
  lines.push('', 'a region would be')
  for (const { path, fileSystem, durability, evidence, pinnable } of places) {
    const forXdp =
      durability === undefined ? '' : pinnable ? '; AF_XDP can use it' : '; not for AF_XDP: cannot be pinned'
    lines.push(`  in ${path}: ${durability ? `class ${durability}` : 'refused'} (${fileSystem}; ${evidence}${forXdp})`)
  }
  if (interfaces.length > 0) lines.push('', 'AF_XDP could be tried on')
  for (const { name, detail } of interfaces) lines.push(`  xdp:${name}: ${detail}`)
  lines.push(
    '',
    canServe ? 'packrat serve can run here' : 'packrat serve cannot run here: see what is MISSING or refused',
  )
  return lines.join('\n')
}

export function doctor(argv: readonly string[]): number | Promise<number> {
  return runCommand(COMMAND, argv, async ({ json }) => {
    const diagnosis = await diagnose()
    console.log(json ? JSON.stringify(diagnosis, null, 2) : diagnosisText(diagnosis))
    return diagnosis.canServe ? EXIT_OK : EXIT_PROBLEM
  })
}
