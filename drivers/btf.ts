/**
 * Finds a function of the running kernel by name in its type information (BTF), for programs that call it: the number of
 * the type is what such a call names.
 *
 *   /sys/kernel/btf/vmlinux   [ header | types, one after another, numbered from 1 | strings ]
 *   header   magic u16 | version u8 | flags u8 | length u32 | types at, bytes | strings at, bytes     (behind the header)
 *   type     name: offset in the strings u32 | info u32: kind << 24, members u16 | size or type u32 | more, by kind
 *
 * Little-endian, as the machine is. Format: Documentation/bpf/btf.rst of Linux. Called by: xdp.ts, once at opening.
 */

const MAGIC = 0xeb9f
const HEADER_BYTES = 24
const TYPE_BYTES = 12
const KIND_FUNCTION = 12

/**
 * Bytes behind a type, by kind: so many in any case, and so many for each member. Kinds: 1 integer, 2 pointer, 3 array,
 * 4 struct, 5 union, 6 enum, 7 forward, 8 typedef, 9 volatile, 10 const, 11 restrict, 12 function, 13 prototype,
 * 14 variable, 15 data section, 16 float, 17 declaration tag, 18 type tag, 19 enum of 64 bits.
 */
const BYTES_BEHIND = [0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0]
const BYTES_A_MEMBER = [0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12]

/** Number of the function's type, or 0 if `btf` names no such function, or is nothing that can be read. */
export function findKernelFunction(btf: Uint8Array, name: string): number {
  const view = new DataView(btf.buffer, btf.byteOffset, btf.byteLength)
  if (btf.byteLength < HEADER_BYTES || view.getUint16(0, true) !== MAGIC) return 0
  const headerBytes = view.getUint32(4, true)
  const strings = headerBytes + view.getUint32(16, true)
  const end = headerBytes + view.getUint32(8, true) + view.getUint32(12, true)
  const wanted = Buffer.from(`${name}\0`)
  if (end > btf.byteLength) return 0
  let at = headerBytes + view.getUint32(8, true)
  for (let id = 1; at + TYPE_BYTES <= end; id++) {
    const info = view.getUint32(at + 4, true)
    const kind = (info >>> 24) & 0x1f
    if (kind === 0 || kind >= BYTES_BEHIND.length) return 0 // a kind that is younger than this file: its length is not known
    if (kind === KIND_FUNCTION && isAt(btf, strings + view.getUint32(at, true), wanted)) return id
    at += TYPE_BYTES + BYTES_BEHIND[kind]! + (info & 0xffff) * BYTES_A_MEMBER[kind]!
  }
  return 0
}

function isAt(bytes: Uint8Array, at: number, wanted: Uint8Array): boolean {
  if (at + wanted.length > bytes.length) return false
  for (let index = 0; index < wanted.length; index++) if (bytes[at + index] !== wanted[index]) return false
  return true
}
