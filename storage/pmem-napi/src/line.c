/*
 * The checksum of a metadata line: CRC32C over the line's index (so that a line copied to another place is
 * detected), the words from `state` up to `next`, and for a head the key bytes, which lie in its buffer.
 */
#include "line.h"

#include <string.h>

#include "crc32c.h"

/* The line's index, the state, and the words from there to LINE_CRC_END. */
#define COVERED_BYTES (sizeof(uint32_t) + LINE_CRC_END - LINE_CRC_FIRST)

static inline uint64_t pair_at(const uint32_t *words, uint32_t at) {
  uint64_t low = __atomic_load_n(words + at, __ATOMIC_RELAXED);
  uint64_t high = __atomic_load_n(words + at + 1, __ATOMIC_RELAXED);
  return low | high << 32;
}

/*
 * The line is read once, for bounds are checked on what is used; and word by word, because its words were stored one by
 * one a moment ago: a load across two stores would wait until both have left the processor's store buffer.
 */
bool line_crc(const struct region *region, uint32_t meta, const struct line *line, uint32_t state, uint32_t *crc) {
  const uint32_t *words = (const uint32_t *)line;
  uint64_t covered[(COVERED_BYTES + 7) / 8];
  uint64_t buffer_data = pair_at(words, offsetof(struct line, buffer) / 4);
  uint64_t key_value = pair_at(words, offsetof(struct line, key) / 4);
  covered[0] = meta | (uint64_t)state << 32;
  covered[1] = pair_at(words, offsetof(struct line, version_low) / 4);
  covered[2] = pair_at(words, offsetof(struct line, arrival_low) / 4);
  covered[3] = buffer_data;
  covered[4] = key_value;
  covered[5] = pair_at(words, offsetof(struct line, next_fragment) / 4);
  covered[6] = __atomic_load_n(&line->key_prefix, __ATOMIC_RELAXED);
  *crc = crc32c(0, covered, COVERED_BYTES);
  if (state_kind(state) != KIND_HEAD) return true;
  uint32_t key_view = (uint32_t)key_value;
  uint32_t length = view_length(key_view);
  const uint8_t *key = region_view(region, (uint32_t)buffer_data, view_offset(key_view), length);
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
