/**
 * The one gateway to the native package `@pm-kit/pmem-napi`: types, numbers, and errors that say what, why and
 * what to do. No policy. Persist programs are described in persist-program.ts.
 *
 * Called by: region.ts, and tools/doctor.ts. Per-packet functions are the native ones
 * themselves: they return negative numbers and never throw.
 */
import * as native from '@pm-kit/pmem-napi'
import { RegionError } from './errors.ts'

export type { Barrier, FileInfo, Flush, Geometry, Mapping } from '@pm-kit/pmem-napi'

/** An open region of this thread; a small integer, never reused. */
export type RegionHandle = native.Handle

/* Slots of `counters`. */
export const COUNTER_PROGRAMS = 0
export const COUNTER_FENCES = 1
export const COUNTER_FLUSHED_LINES = 2
export const COUNTER_SEALS = 3
export const COUNTER_CLEARS = 4
export const COUNTER_SYNCS = 5

/* What `execute` returns, negated errno values of Linux. A failed sync returns its own (EIO, ENOSPC, EDQUOT). */
export const EXECUTE_OK = 0
export const EXECUTE_CLOSED = -9
export const EXECUTE_NO_MEMORY = -12
export const EXECUTE_BUSY = -16
export const EXECUTE_INVALID = -22

export const {
  adviseHugePages,
  copyView,
  counters,
  cpu,
  crc32c,
  crcView,
  execute,
  executeAsync,
  failSync,
  followLinks,
  gatherRun,
  layout,
  scanLines,
  sumBytes,
  sumDescriptors,
  sumView,
  verifyLines,
} = native

/** What a user can do about each code; where the code alone says it all there is no entry. */
const ADVICE: Readonly<Record<string, string>> = {
  EACCES: 'check the permissions of the file and of its directory, or choose another path',
  EDQUOT: 'free some of your disk quota or choose a smaller size',
  EEXIST: 'open it instead, or remove it first',
  EFBIG: 'choose a smaller size or another file system',
  EFTYPE: 'name a regular file or a /dev/dax device',
  EINVAL: 'this is a fault of the caller: the arguments do not fit the region',
  EIO: 'the storage failed: check the kernel log, and restore from a copy if the file is damaged',
  ELOCKED: 'stop the process that holds it, or choose another file',
  ENOENT: 'check the path, or create the region first',
  ENOMEM: 'the address space or memory is limited (ulimit -v, cgroup): raise the limit or choose a smaller size',
  ENOSPC: 'free space or choose a smaller size',
  ENOTDIR: 'check the path: a part of it is not a directory',
  ENOTSUP: 'choose a file system that can allocate files ahead, such as ext4, xfs or tmpfs',
  EPERM: 'check the attributes of the file (lsattr) and your privileges',
  EROFS: 'the file system or the region is read-only: choose another path or open it for writing',
}

function regionError(what: string, cause: unknown): RegionError {
  const error = cause as NodeJS.ErrnoException
  const code = error.code ?? 'EUNKNOWN'
  const advice = ADVICE[code]
  return new RegionError(code, `${what}: ${error.message}${advice ? `; ${advice}` : ''}`, { cause })
}

function translated<T>(what: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw regionError(what, error)
  }
}

/**
 * Creates `path` as `path.creating`, locked and with every byte allocated; `publishRegionFile` gives it its name.
 * After an error nothing is left.
 * @throws RegionError EEXIST, ELOCKED, ENOSPC, EACCES, ENOENT, ENOTSUP …
 */
export function createRegionFile(path: string, bytes: number, mode = 0o600): RegionHandle {
  return translated(`cannot create region ${path} of ${bytes} bytes`, () => native.createFile(path, bytes, mode))
}

/** Syncs a created file, renames it to its path unless that exists, and syncs the directory. @throws RegionError EEXIST, EIO … */
export function publishRegionFile(handle: RegionHandle): void {
  translated('cannot publish the region', () => native.publish(handle))
}

/** Removes a created file that was not published, and closes it. @throws RegionError EINVAL, EBUSY */
export function abandonRegionFile(handle: RegionHandle): void {
  translated('cannot abandon the region', () => native.abandon(handle))
}

/**
 * Opens and locks a regular file or a DAX device.
 * @throws RegionError ENOENT, EACCES, ELOCKED, EFTYPE …
 */
export function openRegionFile(
  path: string,
  options: { writable: boolean; lock: 'exclusive' | 'shared' },
): RegionHandle {
  return translated(`cannot open region ${path}`, () => native.openFile(path, options))
}

/** Length and file system. @throws RegionError EBADF */
export function regionFileInfo(handle: RegionHandle): native.FileInfo {
  return translated('cannot examine the region', () => native.fileInfo(handle))
}

/** A copy of at most 64 MiB of the file. @throws RegionError ERANGE, EIO */
export function readRegion(handle: RegionHandle, offset: number, length: number): Uint8Array {
  return translated('cannot read the region', () => native.read(handle, offset, length))
}

/** Writes through the file: the header, at creation and when it changes. @throws RegionError ERANGE, EROFS, EIO */
export function writeRegion(handle: RegionHandle, offset: number, bytes: Uint8Array): void {
  translated('cannot write the region', () => native.write(handle, offset, bytes))
}

/** Makes the unmapped file longer, allocated and zero, or shorter; its old length after an error. @throws RegionError ENOSPC, EDQUOT, EFBIG, ENOTSUP … */
export function resizeRegion(handle: RegionHandle, bytes: number): void {
  translated(`cannot resize the region to ${bytes} bytes`, () => native.resizeFile(handle, bytes))
}

/** fdatasync. After an error the file must be taken for damaged. @throws RegionError EIO, ENOSPC, EDQUOT */
export function syncRegion(handle: RegionHandle): void {
  translated('cannot sync the region', () => native.syncFile(handle))
}

/** Maps the whole file, once. @throws RegionError ENOMEM, ENODEV … */
export function mapRegion(handle: RegionHandle): native.Mapping {
  return translated('cannot map the region', () => native.map(handle))
}

/** The ArrayBuffer of a range of at most 1 GiB; `closeRegion` detaches it. @throws RegionError ERANGE, EEXIST (overlap) */
export function wrapRegion(handle: RegionHandle, offset: number, length: number): ArrayBuffer {
  return translated('cannot wrap a part of the region', () => native.extent(handle, offset, length))
}

/** Detaches all ArrayBuffers, unmaps, closes. @throws RegionError EBUSY while a program runs */
export function closeRegion(handle: RegionHandle): void {
  translated('cannot close the region', () => native.close(handle))
}

/** Says where lines and buffers lie; indices mean nothing before. @throws RegionError EINVAL, EBUSY */
export function setRegionGeometry(handle: RegionHandle, geometry: native.Geometry): void {
  translated('cannot lay out the region', () => native.setGeometry(handle, geometry))
}

/** Chooses how fences make stores durable, and how slow a medium they feign. @throws RegionError ENOTSUP (no such instruction), EINVAL, EBUSY */
export function setRegionBarrier(
  handle: RegionHandle,
  barrier: native.Barrier,
  options: { flush?: native.Flush; lineLatencyNs?: number } = {},
): void {
  translated(`cannot use the barrier ${barrier}`, () => native.setBarrier(handle, barrier, options))
}

/**
 * Brings the pages of a range into memory and into the page table; blocks about 0.4 ms a MiB. Call it after
 * `setRegionBarrier`. @returns whether this kernel can. @throws RegionError ERANGE, ENOMEM, EINVAL (not mapped)
 */
export function prefaultRange(handle: RegionHandle, offset: number, length: number): boolean {
  return translated('cannot prefault the region', () => native.prefault(handle, offset, length))
}

/**
 * Makes a range of the mapping durable by the region's barrier before it returns; also while a program runs on the
 * native thread. An error may stem from that program's pages: the store must be poisoned either way.
 * @throws RegionError EIO, ENOSPC, ERANGE
 */
export function persistRange(handle: RegionHandle, offset: number, length: number): void {
  translated('cannot persist a part of the region', () => native.persist(handle, offset, length))
}
