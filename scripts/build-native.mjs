#!/usr/bin/env node
/**
 * Builds the native packages whose sources are newer than what was built from them; says nothing about the others.
 *
 *   node scripts/build-native.mjs [--force]
 *
 * Called by: npm run build. The packages also build when npm installs them; with nothing changed since, this does not
 * build them again. Node-API binaries serve every Node version, so a change of Node is no reason to build.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '..')
/** Every workspace is a native package. */
const PACKAGES = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).workspaces
const BUILD_TIMEOUT_MS = 300_000

/** Time of the newest build input: sources and build description, not tests, documentation or JavaScript. */
function sourcesTime(folder) {
  return readdirSync(folder, { recursive: true })
    .filter((name) => /\.(c|h|gyp|gypi)$/.test(name) && !/^(build|node_modules)\//.test(name))
    .reduce((newest, name) => Math.max(newest, statSync(join(folder, name)).mtimeMs), 0)
}

/** Time of the oldest built addon; 0 if there is none. */
function builtTime(folder) {
  const release = join(folder, 'build/Release')
  if (!existsSync(release)) return 0
  const addons = readdirSync(release).filter((name) => name.endsWith('.node'))
  return addons.length === 0 ? 0 : Math.min(...addons.map((name) => statSync(join(release, name)).mtimeMs))
}

/** Where this Node's own headers lie, if it came with them: then node-gyp need not download any. */
function ownHeaders() {
  const prefix = dirname(dirname(process.execPath))
  return existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : []
}

function build(name) {
  const gyp = join(ROOT, 'node_modules/node-gyp/bin/node-gyp.js')
  if (!existsSync(gyp)) {
    console.error('build-native: node-gyp is not installed; run `npm ci` first (scripts/setup.sh does)')
    return false
  }
  console.log(`building ${name}`)
  const result = spawnSync(process.execPath, [gyp, 'rebuild', ...ownHeaders()], {
    cwd: join(ROOT, name),
    encoding: 'utf8',
    timeout: BUILD_TIMEOUT_MS,
    maxBuffer: 64 << 20,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  // Warnings are worth reading even when the build succeeds; the progress is not.
  const warnings = `${result.stdout}${result.stderr}`.split('\n').filter((line) => /\bwarning: /.test(line))
  if (result.status === 0) {
    for (const line of warnings) console.error(line)
    return true
  }
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`)
  const why = result.error ? result.error.message : `exit status ${result.status}`
  console.error(`build-native: building ${name} failed (${why}); it needs a C compiler, make and python3`)
  return false
}

const force = process.argv.includes('--force')
let ok = true
for (const name of PACKAGES) {
  const folder = join(ROOT, name)
  if (!force && builtTime(folder) > sourcesTime(folder)) continue
  ok = build(name) && ok
}
process.exitCode = ok ? 0 : 1
