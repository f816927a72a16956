/* Writing cache lines back to the persistence domain. */
#ifndef PMEM_FLUSH_H
#define PMEM_FLUSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flush_kind { FLUSH_NONE, FLUSH_CLFLUSH, FLUSH_CLFLUSHOPT, FLUSH_CLWB, FLUSH_DC_CVAC, FLUSH_DC_CVAP };

/* The best instruction this processor has; FLUSH_NONE where user code cannot write back caches. */
enum flush_kind flush_best(void);
bool flush_supported(enum flush_kind kind);
const char *flush_name(enum flush_kind kind);
/* The kind of that name; FLUSH_NONE if there is none. */
enum flush_kind flush_by_name(const char *name);

/* Writes back every cache line that [start, start + bytes) touches; returns their number. Ordered only by the next `flush_fence`. */
uint32_t flush_range(enum flush_kind kind, const void *start, size_t bytes);
/* Returns once every line written back before has reached the persistence domain. */
void flush_fence(void);
/* Spins for that time: what a slower medium would have kept the fence waiting. */
void flush_wait(uint64_t nanoseconds);

#endif
