/*
 * The checksum of a metadata line: CRC32C over the line's index (so that a line copied to another place is
 * detected), the words from `state` up to `next`, and for a head the key bytes, which lie in its buffer.
 */
#include "line.h"

#include <string.h>

#include "crc32c.h"

bool line_crc(const struct region *region, uint32_t meta, const struct line *line, uint32_t state, uint32_t *crc) {
  struct line copy = *line; /* one snapshot: bounds are checked on what is used */
  uint8_t covered[sizeof meta + LINE_CRC_END - LINE_CRC_FIRST];
  copy.state = state;
  memcpy(covered, &meta, sizeof meta);
  memcpy(covered + sizeof meta, (const uint8_t *)&copy + LINE_CRC_FIRST, LINE_CRC_END - LINE_CRC_FIRST);
  *crc = crc32c(0, covered, sizeof covered);
  if (state_kind(state) != KIND_HEAD) return true;
  uint32_t length = view_length(copy.key);
  const uint8_t *key = region_view(region, copy.buffer, view_offset(copy.key), length);
  if (!key) return false;
  *crc = crc32c(*crc, key, length);
  return true;
}

enum line_status line_verify(const struct region *region, uint32_t meta, const struct line *line) {
  uint64_t commit = __atomic_load_n(&line->commit, __ATOMIC_ACQUIRE);
  uint32_t state = (uint32_t)(commit >> 32);
  uint32_t crc;
  if (commit == 0) return LINE_FREE;
  if (state_kind(state) == KIND_FREE || !line_crc(region, meta, line, state, &crc)) return LINE_INVALID;
  return crc == (uint32_t)commit ? LINE_VALID : LINE_INVALID;
}

static const uint8_t *line_key(const struct region *region, const struct line *line, uint32_t *length) {
  uint32_t view = line->key;
  *length = view_length(view);
  return region_view(region, line->buffer, view_offset(view), *length);
}

void line_prefetch_key(const struct region *region, const struct line *line) {
  uint32_t length;
  __builtin_prefetch(line_key(region, line, &length));
}

uint32_t line_key_hash(const struct region *region, const struct line *line) {
  uint32_t length, hash = 0x811c9dc5;
  const uint8_t *key = line_key(region, line, &length);
  for (uint32_t i = 0; key && i < length; i++) hash = (hash ^ key[i]) * 0x01000193;
  return hash ^ hash >> 15;
}

void line_key_words(const struct region *region, const struct line *line, uint32_t count, int32_t *words) {
  uint32_t length;
  const uint8_t *key = line_key(region, line, &length);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t word = 0;
    if (key && length > 4 * i) memcpy(&word, key + 4 * i, length - 4 * i < 4 ? length - 4 * i : 4);
    words[i] = (int32_t)(__builtin_bswap32(word) ^ 1u << 31);
  }
}

bool line_is_whole(const struct region *region, const struct line *line) {
  uint32_t length = view_length(line->data);
  return line->next_fragment == 0 && (state_flags(line->state) & FLAG_MEMBER) == 0 && line->value == length &&
         region_view(region, line->buffer, view_offset(line->data), length) != NULL;
}

const uint8_t *line_data(const struct region *region, const struct line *line, uint32_t *length) {
  uint32_t view = line->data;
  *length = view_length(view);
  return region_view(region, line->buffer, view_offset(view), *length);
}
