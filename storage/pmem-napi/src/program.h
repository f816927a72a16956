/* Persist programs: what makes one batch durable, as data. */
#ifndef PMEM_PROGRAM_H
#define PMEM_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "region.h"

/* Four int32 an operation: [operation, a, b, c]. Numbers are those of storage/pmem.ts. */
#define OPERATION_WORDS 4u
#define OPERATIONS_MAX (1u << 23) /* a value of 4 GiB takes three operations for each of its 2^21 buffers */

enum operation {
  OP_FLUSH_VIEW = 1, /* buffer, offset, length */
  OP_FLUSH_LINE = 2, /* meta */
  OP_FENCE = 3,
  OP_SEAL_LINE = 4,  /* meta, state */
  OP_CLEAR_LINE = 5, /* meta */
  OP_CRC_VIEW = 6,   /* meta */
};

/* What a program did; added to the region's counters by the thread of JavaScript. */
struct tally {
  uint64_t fences;
  uint64_t flushed_lines;
  uint64_t seals;
  uint64_t clears;
  uint64_t syncs;
};

/* Checks every operation and resolves its indices into the region's steps; 0 or a negative errno. Changes nothing else. */
int program_compile(struct region *region, const int32_t *words, uint32_t word_count, uint32_t *step_count);
/* Executes compiled steps in order; stops at the first failure. 0 or a negative errno. Any thread, one at a time. */
int program_run(struct region *region, uint32_t step_count, struct tally *tally);

#endif
