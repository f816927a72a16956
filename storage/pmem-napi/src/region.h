/*
 * A region as the native side knows it: the file, its one mapping, the wraps handed to JavaScript, the geometry
 * of lines and buffers, and the state of its persist programs.
 */
#ifndef PMEM_REGION_H
#define PMEM_REGION_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>

#include "file.h"
#include "flush.h"
#include "layout.h"

/* How a fence makes flushed lines durable. */
enum barrier { BARRIER_CPU, BARRIER_CPU_NO_FLUSH, BARRIER_SYNC };

enum mapping { MAPPING_NONE, MAPPING_SHARED, MAPPING_PRIVATE, MAPPING_READ_ONLY };

/* Slots of the counters' Float64Array; names in index.d.ts. */
enum counter { COUNTER_PROGRAMS, COUNTER_FENCES, COUNTER_FLUSHED_LINES, COUNTER_SEALS, COUNTER_CLEARS, COUNTER_SYNCS, COUNTERS };

struct extent {
  struct line *lines;
  uint8_t *buffers;
  uint32_t buffer_count;
  uint32_t line_count;
};

/* One ArrayBuffer over a range of the mapping. */
struct wrap {
  uint64_t offset;
  uint64_t bytes;
  napi_ref reference;
};

struct step;

struct region {
  uint32_t id;
  struct file file;

  uint8_t *base; /* NULL: not mapped */
  enum mapping mapping;
  bool map_sync;
  struct wrap *wraps;
  uint32_t wrap_count;

  struct extent *extents; /* EXTENTS_MAX entries, allocated with the geometry */
  uint32_t extent_count;  /* 0: no geometry yet */
  uint32_t line_shift;    /* line index -> extent */

  enum barrier barrier;
  enum flush_kind flush;
  uint32_t line_latency_ns; /* emulated medium: each line written back costs a fence so much; 0: as fast as it is */
  uint64_t lines_to_wait_for; /* written back since the last fence of a program */
  /* Offered to the next sync: one hull [low, high) around everything flushed since the last; high 0: nothing. */
  uintptr_t sync_low;
  uintptr_t sync_high;
  int64_t syncs_to_failure; /* test hook: the sync that counts this down to 0 fails; atomic, because any thread may sync */

  struct step *steps; /* the compiled program; grows to the largest one */
  uint32_t step_capacity;
  bool running; /* a native thread executes `steps` */

  double *counters; /* memory of an ArrayBuffer owned by JavaScript */
  napi_ref counters_array;
};

#define REGIONS_MAX 64u

/* Regions of one environment (a thread of Node.js). Freed when the environment and the last native thread are done with it. */
struct environment {
  struct region *regions[REGIONS_MAX];
  uint32_t generations[REGIONS_MAX];
};

/* The region of that handle, or NULL. Handles are never reused. */
struct region *region_find(struct environment *environment, uint32_t id);
/* Takes the open file over. NULL: no memory or no slot; the file is closed. */
struct region *region_add(struct environment *environment, struct file *file);
bool region_map(struct region *region, struct failure *why);
/* Unmaps, closes and frees. ArrayBuffers must be detached before, unless no JavaScript can run any more. */
void region_free(struct environment *environment, struct region *region);

/* Whether native code may store into the mapping. */
static inline bool region_storable(const struct region *region) {
  return region->mapping == MAPPING_SHARED || region->mapping == MAPPING_PRIVATE;
}

/* Writes `bytes` at `start` inside the mapping to the persistence domain by the region's barrier; 0 or an errno. */
int region_persist(struct region *region, const void *start, uint64_t bytes);
/* Brings the pages of a range into memory and into the page table; 0 or an errno (EINVAL: a kernel before 5.14). */
int region_prefault(struct region *region, uint64_t offset, uint64_t bytes);
/* The sync of BARRIER_SYNC over a range of the mapping; 0 or an errno. */
int region_sync(struct region *region, uintptr_t low, uintptr_t high);

/* --- geometry.c --- */

/* Checks and installs the geometry; false leaves the old one. */
bool geometry_set(struct region *region, const double *offsets, const double *buffers, uint32_t count,
                  uint32_t lines_per_buffer, const char **reason);

/* The line of an index, or NULL if there is none: for numbers from JavaScript and from persistent memory. */
static inline struct line *region_line(const struct region *region, uint32_t meta) {
  uint32_t extent = meta >> region->line_shift;
  uint32_t local = meta & ((1u << region->line_shift) - 1);
  if (extent >= region->extent_count || local >= region->extents[extent].line_count) return NULL;
  return region->extents[extent].lines + local;
}

/* The bytes of a view, or NULL if it is not inside one buffer. */
static inline uint8_t *region_view(const struct region *region, uint32_t buffer, uint32_t offset, uint32_t length) {
  uint32_t extent = buffer >> EXTENT_BUFFERS_SHIFT;
  uint32_t local = buffer & (EXTENT_BUFFERS_MAX - 1);
  if (extent >= region->extent_count || local >= region->extents[extent].buffer_count) return NULL;
  if (offset > BUFFER_BYTES || length > BUFFER_BYTES - offset) return NULL;
  return region->extents[extent].buffers + ((uint64_t)local << BUFFER_SHIFT) + offset;
}

#endif
