/*
 * Bindings that go over many lines in one call: their verification, the scan that a recovery begins with, and what it
 * gathers from the scan for a run of the list.
 */
#include <string.h>

#include "arguments.h"
#include "line.h"

/* How far ahead keys are asked for, in lines: enough to cover a miss, few enough to stay in the first cache. */
#define KEY_PREFETCH_LINES 8u
/* How far ahead digests are, in heads. */
#define DIGEST_PREFETCH 16u

/* The first of `count` lines of one extent, or NULL: index ranges have holes between extents. */
static const struct line *line_range(const struct region *region, uint32_t first, uint32_t count) {
  const struct line *line = region_line(region, first);
  if (!line || count - 1 > UINT32_MAX - first || !region_line(region, first + count - 1) ||
      first >> region->line_shift != (first + count - 1) >> region->line_shift)
    return NULL;
  return line;
}

/* verifyLines(handle, firstMeta, count, out) */
static napi_value verify_lines(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct environment *environment;
  uint32_t first, count;
  uint8_t *out;
  size_t available;
  if (!arguments_get(env, info, 4, values, &environment)) return NULL;
  const struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  if (!argument_u32(env, values[1], &first) || !argument_u32(env, values[2], &count) ||
      !argument_bytes(env, values[3], &out, &available) || count > available)
    return throw_invalid(env, "firstMeta and count must be whole numbers and out a Uint8Array of at least count bytes");
  if (count == 0) return NULL;
  const struct line *line = line_range(region, first, count);
  if (!line) return throw_invalid(env, "the lines must exist and lie in one extent");
  for (uint32_t i = 0; i < count; i++) out[i] = (uint8_t)line_verify(region, first + i, line + i);
  return NULL;
}

/* scanLines(handle, firstMeta, count, states, digests, hashes, tally) */
static napi_value scan_lines(napi_env env, napi_callback_info info) {
  napi_value values[7];
  struct environment *environment;
  uint32_t first, count;
  uint8_t *states;
  int32_t *digests, *hashes, *tally;
  size_t state_count, digest_words, hash_count, tally_count;
  if (!arguments_get(env, info, 7, values, &environment)) return NULL;
  const struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  if (!argument_u32(env, values[1], &first) || !argument_u32(env, values[2], &count) ||
      !argument_bytes(env, values[3], &states, &state_count) || !argument_words(env, values[4], &digests, &digest_words) ||
      !argument_words(env, values[5], &hashes, &hash_count) || !argument_words(env, values[6], &tally, &tally_count) ||
      tally_count < TALLY_WORDS)
    return throw_invalid(env, "firstMeta and count must be whole numbers, and behind them a Uint8Array and three Int32Arrays");
  if (count == 0) return NULL;
  const struct line *line = line_range(region, first, count);
  if (!line) return throw_invalid(env, "the lines must exist and lie in one extent");
  uint64_t end = (uint64_t)first + count;
  if (end > state_count || end > digest_words / DIGEST_WORDS || end > hash_count) return throw_invalid(env, "the arrays end before the lines");
  uint64_t newest = (uint64_t)(uint32_t)tally[TALLY_VERSION_HIGH] << 32 | (uint32_t)tally[TALLY_VERSION_LOW];
  for (uint32_t meta = first; meta < end; meta++, line++) {
    if (end - meta > KEY_PREFETCH_LINES) line_prefetch_key(region, line + KEY_PREFETCH_LINES);
    int32_t *digest = digests + (uint64_t)meta * DIGEST_WORDS;
    digest[DIGEST_LINK] = (int32_t)line->next;
    enum line_status status = line_verify(region, meta, line);
    if (status != LINE_FREE) {
      tally[TALLY_COMMITTED]++;
      hashes[meta] = (int32_t)line_key_hash(region, line);
      line_key_words(region, line, KEY_WORDS, digest + DIGEST_KEY);
      if (status == LINE_VALID && state_kind(line->state) == KIND_HEAD) {
        uint64_t version = (uint64_t)line->version_high << 32 | line->version_low;
        if (version > newest) newest = version;
        if (line_is_whole(region, line)) status = LINE_WHOLE;
      }
      if (status != LINE_WHOLE) tally[TALLY_OTHERS]++;
    }
    states[meta] = (uint8_t)status;
  }
  tally[TALLY_VERSION_LOW] = (int32_t)(uint32_t)newest;
  tally[TALLY_VERSION_HIGH] = (int32_t)(uint32_t)(newest >> 32);
  return NULL;
}

/* followLinks(states, digests, mark, cursors, nexts, places, runs, runPlaces) -> the cursor that stopped, or -1 */
static napi_value follow_links(napi_env env, napi_callback_info info) {
  napi_value values[8];
  struct environment *environment;
  uint32_t mark, cursors, run_places;
  uint8_t *states;
  int32_t *digests, *nexts, *places, *runs;
  size_t state_count, digest_words, next_count, place_count, run_words;
  if (!arguments_get(env, info, 8, values, &environment)) return NULL;
  if (!argument_bytes(env, values[0], &states, &state_count) || !argument_words(env, values[1], &digests, &digest_words) ||
      !argument_u32(env, values[2], &mark) || !argument_u32(env, values[3], &cursors) || cursors == 0 ||
      !argument_words(env, values[4], &nexts, &next_count) || cursors > next_count ||
      !argument_words(env, values[5], &places, &place_count) || cursors > place_count ||
      !argument_words(env, values[6], &runs, &run_words) || !argument_u32(env, values[7], &run_places) || run_places == 0 ||
      state_count > digest_words / DIGEST_WORDS)
    return make_i32(env, -1);
  for (uint32_t cursor = 0;; cursor = cursor + 1 < cursors ? cursor + 1 : 0) {
    uint32_t meta = (uint32_t)nexts[cursor], place = (uint32_t)places[cursor];
    if (place >= run_words) return make_i32(env, -1);
    if (meta >= state_count || states[meta] != LINE_WHOLE) return make_i32(env, (int32_t)cursor);
    states[meta] = (uint8_t)mark;
    uint32_t next = (uint32_t)digests[(uint64_t)meta * DIGEST_WORDS + DIGEST_LINK];
    /* Needed when it is this cursor's turn again. */
    __builtin_prefetch(states + next);
    __builtin_prefetch(digests + (uint64_t)next * DIGEST_WORDS);
    runs[place] = (int32_t)meta;
    nexts[cursor] = (int32_t)next;
    places[cursor] = (int32_t)(place + 1);
    if ((place + 1) % run_places == 0) return make_i32(env, (int32_t)cursor);
  }
}

/* gatherRun(metas, from, digests, keys) -> the first place from `from` on that is no plain successor, or -1 */
static napi_value gather_run(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct environment *environment;
  uint32_t from;
  int32_t *metas, *digests, *keys;
  size_t count, digest_words, key_words;
  if (!arguments_get(env, info, 4, values, &environment)) return NULL;
  if (!argument_words(env, values[0], &metas, &count) || !argument_u32(env, values[1], &from) || from == 0 ||
      !argument_words(env, values[2], &digests, &digest_words) || !argument_words(env, values[3], &keys, &key_words) ||
      count > key_words / KEY_WORDS)
    return make_i32(env, -1);
  uint32_t end = (uint32_t)(digest_words / DIGEST_WORDS);
  for (uint32_t place = from; place < count; place++) {
    uint32_t before = (uint32_t)metas[place - 1], meta = (uint32_t)metas[place];
    if (before >= end || meta >= end) return make_i32(env, -1);
    if (count - place > DIGEST_PREFETCH) {
      /* Of a digest that lies across two cache lines both: its ends. */
      uint32_t ahead = (uint32_t)metas[place + DIGEST_PREFETCH];
      __builtin_prefetch(digests + (uint64_t)ahead * DIGEST_WORDS);
      __builtin_prefetch(digests + (uint64_t)ahead * DIGEST_WORDS + DIGEST_WORDS - 1);
    }
    const int32_t *first = digests + (uint64_t)before * DIGEST_WORDS;
    const int32_t *second = digests + (uint64_t)meta * DIGEST_WORDS;
    memcpy(keys + (uint64_t)place * KEY_WORDS, second + DIGEST_KEY, KEY_WORDS * sizeof *keys);
    uint32_t word = DIGEST_KEY;
    while (word < DIGEST_WORDS && first[word] == second[word]) word++;
    if (word == DIGEST_WORDS || first[word] > second[word] || first[DIGEST_LINK] != metas[place]) return make_i32(env, (int32_t)place);
  }
  return make_i32(env, (int32_t)count);
}

const struct export scan_exports[] = {
    {"verifyLines", verify_lines},
    {"scanLines", scan_lines},
    {"followLinks", follow_links},
    {"gatherRun", gather_run},
    {NULL, NULL},
};
