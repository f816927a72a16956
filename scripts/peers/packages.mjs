/** Where packages of peers are. Called by: servers.mjs, http-store.mjs. */
import { join, resolve } from 'node:path'

export const ROOT = resolve(import.meta.dirname, '../..')
/** What `scripts/setup.sh --for-peers` installs beside the project's own dependencies. */
export const PEER_PACKAGES = join(ROOT, '.peers/node_modules')
