/**
 * The program that hands frames to an AF_XDP device: in the driver or behind it, and with the card's arrival times in
 * front of the frames or without. What cannot be had is left out only where the choice was `auto`, and the words for it
 * say why.
 *
 *   native, with timestamps ──no──► native ──no driver support──► generic (never with timestamps)
 *
 * Called by: xdp.ts. Calls: xdp-napi, btf.ts.
 */
import { readFileSync } from 'node:fs'
import { type NetworkInterface, XdpError, XdpProgram } from 'xdp-napi'
import { PackratError } from '../storage/errors.ts'
import { findKernelFunction } from './btf.ts'

/** The kernel's types; without them (CONFIG_DEBUG_INFO_BTF) its functions cannot be named. */
const KERNEL_TYPES = '/sys/kernel/btf/vmlinux'
const TIMESTAMP_FUNCTION = 'bpf_xdp_metadata_rx_timestamp'

export type XdpAttachMode = 'auto' | 'native' | 'generic'
export type XdpTimestamps = 'auto' | 'hardware' | 'software'

export interface XdpProgramChoice {
  readonly interface: string
  /** Our addresses: frames for them come here, all others go to the kernel. 4 bytes, and up to 4 of 16 bytes. */
  readonly ipv4: Uint8Array
  readonly ipv6?: readonly Uint8Array[]
  /** auto: native, or generic where the driver has no native XDP. */
  readonly attach?: XdpAttachMode
  /** auto: the interface's arrival times if it stamps every frame and the kernel hands them over, else software's. */
  readonly timestamps?: XdpTimestamps
}

export interface AttachedProgram {
  readonly program: XdpProgram
  readonly native: boolean
  /** Eight bytes in front of each frame say when it arrived. */
  readonly stamped: boolean
  /** Whose arrival times there are, and why; for people. */
  readonly clock: string
}

/**
 * Throws PackratError TIMESTAMPS, and xdp-napi's XdpErrors.
 * @param fragments the interface's frames may be larger than a buffer
 */
export function attachProgram(choice: XdpProgramChoice, link: NetworkInterface, fragments: boolean): AttachedProgram {
  const { attach = 'auto', timestamps = 'auto' } = choice
  const open = (native: boolean, timestampFunction: number): XdpProgram =>
    new XdpProgram({
      ifindex: link.index,
      queues: link.queues,
      native,
      mac: link.mac,
      ipv4: choice.ipv4,
      ipv6: choice.ipv6 ?? [],
      fragments,
      timestampFunction,
    })
  let reason = whyNotStamped(attach, timestamps, link)
  if (reason === undefined) {
    const timestampFunction = findTimestampFunction()
    if (timestampFunction === 0) reason = `this kernel names no ${TIMESTAMP_FUNCTION} in ${KERNEL_TYPES}`
    else {
      try {
        const program = open(true, timestampFunction)
        return { program, native: true, stamped: true, clock: 'hardware arrival times where the driver has them' }
      } catch (error) {
        if (!(error instanceof XdpError) || (error.code !== 'EINVAL' && error.code !== 'ENOTSUP')) throw error
        reason = `the driver hands over none: ${error.code}`
      }
    }
  }
  if (timestamps === 'hardware')
    throw new PackratError('TIMESTAMPS', `no arrival times from ${choice.interface}: ${reason}; choose software`)
  const clock = `software arrival times${reason === '' ? '' : ` (${reason})`}`
  const software = (native: boolean): AttachedProgram => ({ program: open(native, 0), native, stamped: false, clock })
  if (attach !== 'auto') return software(attach === 'native')
  try {
    return software(true)
  } catch (error) {
    if (!(error instanceof XdpError) || error.code !== 'ENOTSUP') throw error
    return software(false)
  }
}

/** Undefined if it is to be tried; empty if nobody wants it. */
function whyNotStamped(attach: XdpAttachMode, timestamps: XdpTimestamps, link: NetworkInterface): string | undefined {
  if (timestamps === 'software') return ''
  if (attach === 'generic') return 'generic XDP hands over none'
  if (timestamps === 'auto' && !link.stampsFrames) return 'the interface stamps none'
  return undefined
}

function findTimestampFunction(): number {
  try {
    return findKernelFunction(readFileSync(KERNEL_TYPES), TIMESTAMP_FUNCTION)
  } catch {
    return 0 // no such file
  }
}
