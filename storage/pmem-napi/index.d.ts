/**
 * Persistent-memory regions: mechanism only. Functions for files, mapping and setup throw an Error with a stable
 * `code` (an errno name, or ELOCKED, EFTYPE); functions called per packet or per batch return a negative number.
 *
 * A *handle* names one open region of this environment (thread of Node.js). It is a small integer and is never
 * used again after `close`.
 */
export type Handle = number

/* --- files --- */

/**
 * Creates `PATH.creating`, locked, with all `bytes` allocated; a leftover of a dead creator is taken over.
 * Errors: EEXIST (PATH exists), ELOCKED (another process creates it), ENOSPC, EACCES, ENOTSUP (the file system
 * cannot allocate ahead)… After an error nothing is left.
 */
export function createFile(path: string, bytes: number, mode?: number): Handle
/** Syncs the file, gives it its name unless that exists (EEXIST), and syncs the directory. */
export function publish(handle: Handle): void
/** Removes an unpublished file and closes it. */
export function abandon(handle: Handle): void
/** Opens a regular file or a DAX device and locks it. Errors: ENOENT, EACCES, ELOCKED (in use), EFTYPE (anything else)… */
export function openFile(path: string, options: { writable: boolean; lock: 'exclusive' | 'shared' }): Handle

export interface FileInfo {
  /** Length of the file or device. */
  readonly bytes: number
  /** A DAX character device. */
  readonly device: boolean
  /** statfs magic number; 0 for a device. */
  readonly fsType: number
  /** 'ext4', 'xfs', 'btrfs', 'overlay', 'tmpfs', 'hugetlbfs', 'nfs', 'fuse', …, 'devdax' or 'unknown'. */
  readonly fsName: string
}
export function fileInfo(handle: Handle): FileInfo
/** A copy of `length` bytes (at most 64 MiB). ERANGE past the end. */
export function read(handle: Handle, offset: number, length: number): Uint8Array
/** Writes through the file, not the mapping: for creation. ERANGE past the end, EROFS. */
export function write(handle: Handle, offset: number, bytes: Uint8Array): void
/**
 * Makes the file longer, with every new byte allocated and 0, or shorter. After an error it has its old length.
 * ENOSPC, EDQUOT, EFBIG; EBUSY if it is mapped; ENOTSUP for a device and on hugetlbfs.
 */
export function resizeFile(handle: Handle, bytes: number): void
/** fdatasync. */
export function syncFile(handle: Handle): void

/* --- mapping --- */

export interface Mapping {
  /** The kernel accepted MAP_SYNC: the file is DAX, and flushed lines are durable without a system call. */
  readonly mapSync: boolean
  /**
   * 'shared': stores reach the file. 'private': opened for reading; stores stay in this process and never reach the
   * file. 'read-only': a DAX device opened for reading; a store into its ArrayBuffers ends the process.
   */
  readonly mapping: 'shared' | 'private' | 'read-only'
}
/** Maps the whole file once. */
export function map(handle: Handle): Mapping
/**
 * The bytes of a range of the mapping, at most 1 GiB, as an external ArrayBuffer. The same range gives the same
 * ArrayBuffer; a range that overlaps another one is refused (EEXIST). `close` detaches it. Never put it in a
 * transfer list: that copies it.
 */
export function extent(handle: Handle, offset: number, length: number): ArrayBuffer
/** Detaches every ArrayBuffer, unmaps and closes; removes an unpublished file. EBUSY while a program runs. */
export function close(handle: Handle): void

export interface Geometry {
  /** Byte offsets in the file, ascending multiples of 2048. */
  readonly extentOffsets: readonly number[]
  /** Buffers of each extent: a multiple of 32, at most 2^18. */
  readonly extentBuffers: readonly number[]
  /** 1, 2, 4 or 8. */
  readonly linesPerBuffer: number
}
/** Says where lines and buffers lie: an extent is its lines, then its buffers. Everything must fit the mapping. */
export function setGeometry(handle: Handle, geometry: Geometry): void

/* --- persistence --- */

export type Flush = 'clwb' | 'clflushopt' | 'clflush' | 'dc cvap' | 'dc cvac'
/**
 * 'cpu': write lines back, then a store fence. 'cpu-no-flush': the fence alone (eADR: caches are persistent).
 * 'sync': a fence is one msync over the hull of everything flushed since the last; use `executeAsync`.
 */
export type Barrier = 'cpu' | 'cpu-no-flush' | 'sync'
/**
 * ENOTSUP if the processor lacks the flush instruction. Default: 'cpu' with the best one.
 *
 * `lineLatencyNs` (0 to 100,000; default 0) emulates a slower medium behind 'cpu': each fence of a program spins so long
 * for every line that was written back before it.
 */
export function setBarrier(handle: Handle, barrier: Barrier, options?: { flush?: Flush; lineLatencyNs?: number }): void
/**
 * Brings the pages of a range into memory and into the page table, so that first touches do not fault: call it after
 * `setBarrier`. Blocks (0.4 s a GiB on tmpfs here; touching page by page takes 2 to 8 times as long). False: this
 * kernel (before 5.14) cannot.
 */
export function prefault(handle: Handle, offset: number, length: number): boolean
/**
 * Makes a range of the mapping durable by the region's barrier, now, on this thread: for headers. Allowed while a
 * program runs; the kernel reports a write-back error once, so an error here may be that program's.
 */
export function persist(handle: Handle, offset: number, length: number): void

/**
 * Executes a persist program: `words` int32 of `program`, four an operation.
 *
 *   1 FLUSH_VIEW  buffer offset length    write back the cache lines of a piece of a buffer
 *   2 FLUSH_LINE  meta                    write back a line
 *   3 FENCE                               everything written back before is durable
 *   4 SEAL_LINE   meta state              compute the CRC, store the commit word, write back
 *   5 CLEAR_LINE  meta                    store a commit word of 0, write back
 *   6 CRC_VIEW    meta                    store the CRC32C of the line's data view; not written back
 *
 * The whole program is checked first; an invalid one changes nothing. Returns 0 or a negative errno: -EINVAL
 * (-22, invalid), -EBUSY (-16, a program runs on the native thread), -EBADF (-9, closed), -ENOMEM (-12), or the
 * errno of a failed sync, after which nothing more of the program was executed.
 */
export function execute(handle: Handle, program: Int32Array, words: number): number
/**
 * The same on a native thread. Returns 0 if it was accepted, else a negative errno and the callback is not called.
 * The program is copied: the array may be filled again at once. The bytes that it names must be left alone.
 */
export function executeAsync(
  handle: Handle,
  program: Int32Array,
  words: number,
  callback: (error: (Error & { code: string; errno: number }) | null) => void,
): number
/** Live counters: [programs, fences, flushed lines, seals, clears, syncs]. */
export function counters(handle: Handle): Float64Array
/** Test hook: the nth sync from now fails with EIO; 0 disarms. */
export function failSync(handle: Handle, n: number): void
/** Status of `count` lines of one extent into `out`: 0 commit word 0, 1 sealed and valid, 2 anything else. */
export function verifyLines(handle: Handle, firstMeta: number, count: number, out: Uint8Array): void
/**
 * Begins a recovery, for `count` lines of one extent; the arrays are by line index. `states`: as verifyLines, and 3 for a
 * head that is an entry without any other line: valid, no fragments, no member of a batch, views inside its buffer.
 * `digests`, five words a line: the level-0 link, of free lines too; the first 16 bytes of the key of committed lines, as
 * four big-endian words with their top bits flipped, so that they compare as signed. `hashes`: FNV-1a of that key. `tally` is
 * added to: committed lines, those among them whose state is not 3, greatest version of a valid head (low, high half).
 */
export function scanLines(
  handle: Handle,
  firstMeta: number,
  count: number,
  states: Uint8Array,
  digests: Int32Array,
  hashes: Int32Array,
  tally: Int32Array,
): void

/**
 * Walks from several lines at once through the links in `digests` (what scanLines wrote), a step of each cursor in turn, and
 * asks for the memory of its next step meanwhile. A step: the line `nexts[cursor]`, whose state must be 3, goes to
 * `runs[places[cursor]++]`, its state becomes `mark`, and its link the cursor's next line. Returns the first cursor that is at
 * anything else or has come to a place divisible by `runPlaces`; -1 if an array is too short.
 */
export function followLinks(
  states: Uint8Array,
  digests: Int32Array,
  mark: number,
  cursors: number,
  nexts: Int32Array,
  places: Int32Array,
  runs: Int32Array,
  runPlaces: number,
): number
/**
 * Copies the key words of the heads in `metas` to `keys`, four each, from place `from` on (at least 1), as long as each head
 * is the plain successor of the one before: linked from it, with a key that differs in those words and is greater. Returns the
 * first place where that is not so (its key is copied), or the length of `metas`; -1 if an array is too short.
 * `digests`: what scanLines wrote.
 */
export function gatherRun(metas: Int32Array, from: number, digests: Int32Array, keys: Int32Array): number

/* --- bytes --- */

/** CRC32C; `seed` is the CRC of what came before. */
export function crc32c(bytes: Uint8Array, offset?: number, length?: number, seed?: number): number
/** The same without the processor's help, to compare with. */
export function crc32cPortable(bytes: Uint8Array, offset?: number, length?: number, seed?: number): number
/** Internet sum: big-endian words, folded to 16 bits, not complemented. */
export function sumBytes(bytes: Uint8Array, offset: number, length: number): number
/** Internet sum of a view; -1 if there is no such view. */
export function sumView(handle: Handle, buffer: number, offset: number, length: number): number
/** CRC32C of a view; -1 if there is no such view. */
export function crcView(handle: Handle, buffer: number, offset: number, length: number): number
/**
 * Sums of a receive burst. For each of `count` descriptors [buffer, offset, length, 0 or MORE] the sum of its bytes, of those
 * behind the Ethernet header in the first of a frame, goes into the last word, beside MORE = 65536, which says that the frame
 * goes on in the next descriptor. 0, or -1.
 */
export function sumDescriptors(handle: Handle, descriptors: Int32Array, count: number): number
/** Copies between buffers of the region; the views may overlap. 0, or -1 if a view does not exist. */
export function copyView(
  handle: Handle,
  fromBuffer: number,
  fromOffset: number,
  toBuffer: number,
  toOffset: number,
  length: number,
): number

/* --- this machine --- */

/**
 * Asks the kernel for huge pages (madvise MADV_HUGEPAGE) under an ArrayBuffer of JavaScript's own that nobody has touched
 * yet: its whole pages. Returns whether the kernel took the advice; only speed depends on it.
 */
export function adviseHugePages(memory: ArrayBuffer): boolean
/** The flush instruction ('none' if there is none) and the CRC32C implementation in use. */
export function cpu(): { flush: Flush | 'none'; crc: 'sse4.2' | 'arm' | 'portable' }
/** Sizes, word offsets and numbers of the native side by name, for the test that compares them with the format. */
export function layout(): Record<string, number>
