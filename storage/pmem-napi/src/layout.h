/*
 * The region format, version 1, for the native side. The same table as storage/layout.ts, which gives the
 * meaning of every field; a test compares the two through `layout()`.
 *
 *   extent   [metadata lines, 64 bytes each][buffers, 2048 bytes each]
 */
#ifndef PMEM_LAYOUT_H
#define PMEM_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the region format is little-endian and is accessed in place"
#endif
_Static_assert(sizeof(void *) == 8, "regions are mapped whole: 64-bit address space only");

#define BUFFER_BYTES 2048u
#define BUFFER_SHIFT 11u
#define LINE_BYTES 64u
#define EXTENT_BUFFERS_SHIFT 18u
#define EXTENT_BUFFERS_MAX (1u << EXTENT_BUFFERS_SHIFT)
#define EXTENT_BUFFERS_STEP 32u
#define EXTENTS_MAX 64u
#define LINES_PER_BUFFER_MAX 8u

#define KIND_FREE 0u
#define KIND_HEAD 1u
#define FLAG_MEMBER 2u

/* A metadata line. `commit` is the 8-byte word whose single store publishes or clears the line. */
struct line {
  union {
    uint64_t commit;
    struct {
      uint32_t meta_crc;
      uint32_t state; /* generation u16 | kind u8 << 16 | flags u8 << 24 */
    };
  };
  uint32_t version_low;
  uint32_t version_high;
  uint32_t arrival_low;
  uint32_t arrival_high;
  uint32_t buffer;
  uint32_t data; /* offset u16 | length u16 << 16 */
  uint32_t key;  /* offset u16 | length u16 << 16 */
  uint32_t value;
  uint32_t next_fragment;
  uint32_t sum;
  uint32_t key_prefix;
  uint32_t next; /* first word that the line's CRC does not cover */
  union {
    uint64_t payload_crc_word;
    struct {
      uint32_t payload_crc;
      uint32_t payload_crc_complement;
    };
  };
};

#define LINE_CRC_FIRST offsetof(struct line, state)
#define LINE_CRC_END offsetof(struct line, next)

_Static_assert(sizeof(struct line) == LINE_BYTES, "a metadata line is one cache line without padding");
_Static_assert(offsetof(struct line, commit) == 0, "the commit word opens the line");
_Static_assert(offsetof(struct line, payload_crc_word) % 8 == 0, "the payload CRC word is stored in one piece");
_Static_assert(BUFFER_BYTES == 1u << BUFFER_SHIFT, "buffer size and shift agree");

static inline uint32_t view_offset(uint32_t view) { return view & 0xffffu; }
static inline uint32_t view_length(uint32_t view) { return view >> 16; }
static inline uint32_t state_kind(uint32_t state) { return (state >> 16) & 0xffu; }
static inline uint32_t state_flags(uint32_t state) { return state >> 24; }

#endif
