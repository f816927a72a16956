// Loads the addon and gives its functions their optional arguments. What each does: index.d.ts.
import { createRequire } from 'node:module'

const native = createRequire(import.meta.url)('./build/Release/pmem_napi.node')

export const {
  abandon,
  adviseHugePages,
  close,
  copyView,
  counters,
  cpu,
  crcView,
  execute,
  executeAsync,
  extent,
  failSync,
  fileInfo,
  followLinks,
  gatherRun,
  layout,
  map,
  persist,
  prefault,
  publish,
  read,
  resizeFile,
  scanLines,
  sumBytes,
  sumDescriptors,
  sumView,
  syncFile,
  verifyLines,
  write,
} = native

export function createFile(path, bytes, mode = 0o600) {
  return native.createFile(path, bytes, mode)
}

export function openFile(path, options) {
  return native.openFile(path, options.writable, options.lock === 'exclusive')
}

export function setGeometry(handle, geometry) {
  native.setGeometry(handle, geometry.extentOffsets, geometry.extentBuffers, geometry.linesPerBuffer)
}

export function setBarrier(handle, barrier, options = {}) {
  native.setBarrier(handle, barrier, options.flush ?? '', options.lineLatencyNs ?? 0)
}

export function crc32c(bytes, offset = 0, length = bytes.length - offset, seed = 0) {
  return native.crc32c(bytes, offset, length, seed)
}

export function crc32cPortable(bytes, offset = 0, length = bytes.length - offset, seed = 0) {
  return native.crc32cPortable(bytes, offset, length, seed)
}
