/*
 * Where lines and buffers lie in the mapping (storage/layout.ts). Everything an index can reach is proven to be
 * inside the mapping here, once; region_line and region_view then only compare with counts.
 */
#include <stdlib.h>
#include <string.h>

#include "region.h"

bool geometry_set(struct region *region, const double *offsets, const double *buffers, uint32_t count,
                  uint32_t lines_per_buffer, const char **reason) {
  uint32_t line_shift = EXTENT_BUFFERS_SHIFT;
  while (line_shift < EXTENT_BUFFERS_SHIFT + 3 && 1u << (line_shift - EXTENT_BUFFERS_SHIFT) < lines_per_buffer) line_shift++;
  if (1u << (line_shift - EXTENT_BUFFERS_SHIFT) != lines_per_buffer) {
    *reason = "linesPerBuffer must be 1, 2, 4 or 8";
    return false;
  }
  if (count < 1 || count > EXTENTS_MAX) {
    *reason = "a region has 1 to 64 extents";
    return false;
  }
  struct extent *extents = calloc(EXTENTS_MAX, sizeof *extents);
  if (!extents) {
    *reason = "no memory";
    return false;
  }
  uint64_t free_from = 0;
  *reason = NULL;
  for (uint32_t i = 0; i < count && !*reason; i++) {
    /* Both are whole numbers below 2^53: the binding checked. */
    uint64_t offset = (uint64_t)offsets[i];
    if (buffers[i] < 1 || buffers[i] > EXTENT_BUFFERS_MAX || (uint32_t)buffers[i] % EXTENT_BUFFERS_STEP != 0) {
      *reason = "the buffers of an extent must be a multiple of 32, at most 2^18";
      break;
    }
    uint32_t buffer_count = (uint32_t)buffers[i];
    uint64_t line_bytes = (uint64_t)buffer_count * lines_per_buffer * LINE_BYTES;
    uint64_t bytes = line_bytes + ((uint64_t)buffer_count << BUFFER_SHIFT);
    if (offset % BUFFER_BYTES != 0) *reason = "an extent must start at a multiple of 2048";
    else if (offset < free_from) *reason = "extents must ascend and not overlap";
    else if (offset > region->file.bytes || bytes > region->file.bytes - offset) *reason = "an extent ends past the region";
    extents[i].lines = (struct line *)(region->base + offset);
    extents[i].buffers = region->base + offset + line_bytes;
    extents[i].buffer_count = buffer_count;
    extents[i].line_count = buffer_count * lines_per_buffer;
    free_from = offset + bytes;
  }
  if (*reason) {
    free(extents);
    return false;
  }
  free(region->extents);
  region->extents = extents;
  region->extent_count = count;
  region->line_shift = line_shift;
  return true;
}
