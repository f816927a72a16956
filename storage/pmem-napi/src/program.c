/*
 * The persist program: compiled, then run.
 *
 *   int32 words  --compile-->  steps with addresses  --run-->  stores, write-backs, fences
 *
 * Called by execute.c. Compiling checks the whole program and copies it, so the array may change or go away
 * while a native thread runs the steps.
 *
 * Invariants:
 *  1. A program that does not compile has changed nothing.
 *  2. Stores happen in program order; an 8-byte word is stored in one piece.
 *  3. Nothing after a failed sync is executed: what the fence should have ordered must not become visible.
 *  4. Indices that the steps find in persistent memory (key and data views) are checked again when they are used.
 */
#include "program.h"

#include <errno.h>
#include <stdlib.h>

#include "crc32c.h"
#include "line.h"

struct step {
  void *at;           /* line, or first byte of the view */
  uint32_t operation; /* enum operation */
  uint32_t argument;  /* state, or length of the view */
  uint32_t meta;
};

static bool reserve_steps(struct region *region, uint32_t count) {
  if (count <= region->step_capacity) return true;
  uint32_t capacity = region->step_capacity ? region->step_capacity : 256;
  while (capacity < count) capacity *= 2;
  struct step *steps = realloc(region->steps, (size_t)capacity * sizeof *steps);
  if (!steps) return false;
  region->steps = steps;
  region->step_capacity = capacity;
  return true;
}

static bool compile_step(const struct region *region, const int32_t *words, struct step *step) {
  uint32_t a = (uint32_t)words[1], b = (uint32_t)words[2], c = (uint32_t)words[3];
  uint32_t unused;
  step->operation = (uint32_t)words[0];
  step->meta = a;
  step->argument = b;
  switch (step->operation) {
    case OP_FENCE:
      return true;
    case OP_FLUSH_VIEW:
      step->at = region_view(region, a, b, c);
      step->argument = c;
      return step->at != NULL;
    case OP_FLUSH_LINE:
      step->at = region_line(region, a);
      return step->at != NULL;
    case OP_CLEAR_LINE:
      step->at = region_line(region, a);
      return step->at != NULL && region_storable(region);
    case OP_SEAL_LINE: {
      struct line *line = region_line(region, a);
      step->at = line;
      if (!line || !region_storable(region) || state_kind(b) == KIND_FREE) return false;
      return state_kind(b) != KIND_HEAD || region_view(region, line->buffer, view_offset(line->key), view_length(line->key));
    }
    case OP_CRC_VIEW: {
      struct line *line = region_line(region, a);
      step->at = line;
      return line && region_storable(region) && line_data(region, line, &unused);
    }
    default:
      return false;
  }
}

int program_compile(struct region *region, const int32_t *words, uint32_t word_count, uint32_t *step_count) {
  uint32_t count = word_count / OPERATION_WORDS;
  if (word_count % OPERATION_WORDS != 0 || count > OPERATIONS_MAX || region->extent_count == 0) return -EINVAL;
  if (!reserve_steps(region, count)) return -ENOMEM;
  for (uint32_t i = 0; i < count; i++)
    if (!compile_step(region, words + i * OPERATION_WORDS, region->steps + i)) return -EINVAL;
  *step_count = count;
  return 0;
}

static inline void write_back(struct region *region, const void *start, size_t bytes, struct tally *tally) {
  if (bytes == 0) return;
  if (region->barrier == BARRIER_CPU) {
    uint32_t lines = flush_range(region->flush, start, bytes);
    tally->flushed_lines += lines;
    region->lines_to_wait_for += lines;
  } else if (region->barrier == BARRIER_SYNC) {
    uintptr_t low = (uintptr_t)start;
    uintptr_t high = low + bytes;
    if (region->sync_high == 0 || low < region->sync_low) region->sync_low = low;
    if (high > region->sync_high) region->sync_high = high;
    tally->flushed_lines += (uint32_t)((high + LINE_BYTES - 1) / LINE_BYTES - low / LINE_BYTES);
  }
}

static int fence(struct region *region, struct tally *tally) {
  tally->fences++;
  if (region->barrier != BARRIER_SYNC) {
    flush_fence();
    if (region->line_latency_ns) flush_wait(region->lines_to_wait_for * region->line_latency_ns);
    region->lines_to_wait_for = 0;
    return 0;
  }
  if (region->sync_high == 0) return 0;
  tally->syncs++;
  int error = region_sync(region, region->sync_low, region->sync_high);
  region->sync_high = 0; /* an empty hull: the next flush sets both ends */
  return -error;
}

static int seal(struct region *region, const struct step *step, struct tally *tally) {
  struct line *line = step->at;
  uint32_t crc;
  if (!line_crc(region, step->meta, line, step->argument, &crc)) return -EINVAL;
  __atomic_store_n(&line->commit, crc | (uint64_t)step->argument << 32, __ATOMIC_RELEASE);
  tally->seals++;
  write_back(region, line, sizeof *line, tally);
  return 0;
}

static int store_payload_crc(const struct region *region, struct line *line) {
  uint32_t length;
  const uint8_t *data = line_data(region, line, &length);
  if (!data) return -EINVAL;
  uint32_t crc = crc32c(0, data, length);
  __atomic_store_n(&line->payload_crc_word, crc | (uint64_t)~crc << 32, __ATOMIC_RELEASE);
  return 0;
}

int program_run(struct region *region, uint32_t step_count, struct tally *tally) {
  for (uint32_t i = 0; i < step_count; i++) {
    const struct step *step = region->steps + i;
    struct line *line = step->at;
    int error = 0;
    switch (step->operation) {
      case OP_FLUSH_VIEW:
        write_back(region, step->at, step->argument, tally);
        break;
      case OP_FLUSH_LINE:
        write_back(region, line, sizeof *line, tally);
        break;
      case OP_FENCE:
        error = fence(region, tally);
        break;
      case OP_SEAL_LINE:
        error = seal(region, step, tally);
        break;
      case OP_CLEAR_LINE:
        __atomic_store_n(&line->commit, 0, __ATOMIC_RELEASE);
        tally->clears++;
        write_back(region, line, sizeof *line, tally);
        break;
      case OP_CRC_VIEW:
        error = store_payload_crc(region, line);
        break;
    }
    if (error != 0) return error;
  }
  return 0;
}
