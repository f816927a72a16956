/*
 * Table of regions, mapping, and the synchronous persist of a range.
 *
 * A region is mapped once and whole; ArrayBuffers are wraps of parts of that mapping (region-binding.c). A handle
 * is `generation << 6 | slot`: a handle kept past close finds nothing instead of the slot's next region.
 */
#include "region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "errors.h"

/* Linux 5.14; C libraries before that lack the names. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define SLOT_BITS 6u
#define GENERATION_MAX 0xffffffu /* keeps handles below 2^30: small integers in V8 */
_Static_assert(REGIONS_MAX == 1u << SLOT_BITS, "a handle's low bits name the slot");

struct region *region_find(struct environment *environment, uint32_t id) {
  struct region *region = environment->regions[id & (REGIONS_MAX - 1)];
  return region && region->id == id ? region : NULL;
}

struct region *region_add(struct environment *environment, struct file *file) {
  for (uint32_t slot = 0; slot < REGIONS_MAX; slot++) {
    if (environment->regions[slot] || environment->generations[slot] == GENERATION_MAX) continue;
    struct region *region = calloc(1, sizeof *region);
    if (!region) break;
    region->id = ++environment->generations[slot] << SLOT_BITS | slot;
    region->file = *file;
    region->flush = flush_best();
    region->barrier = region->flush == FLUSH_NONE ? BARRIER_SYNC : BARRIER_CPU;
    environment->regions[slot] = region;
    return region;
  }
  file_close(file);
  return NULL;
}

/* Huge pages are unmapped whole: a file that ends inside one could be mapped but never unmapped. */
static bool whole_huge_pages(const struct file *file) {
  struct stat info;
  if (!file->memory_only || file->device) return true;
  return fstat(file->fd, &info) == 0 && info.st_blksize > 0 && file->bytes % (uint64_t)info.st_blksize == 0;
}

bool region_map(struct region *region, struct failure *why) {
  if (region->base) return true;
  uint64_t bytes = region->file.bytes;
  void *base = MAP_FAILED;
  if (bytes == 0 || bytes > PTRDIFF_MAX || !whole_huge_pages(&region->file)) {
    why->error = EINVAL;
    why->doing = "map";
    return false;
  }
  if (region->file.writable) {
    const int protection = PROT_READ | PROT_WRITE;
    base = mmap(NULL, bytes, protection, MAP_SHARED_VALIDATE | MAP_SYNC, region->file.fd, 0);
    region->map_sync = base != MAP_FAILED;
    if (base == MAP_FAILED) base = mmap(NULL, bytes, protection, MAP_SHARED, region->file.fd, 0);
    region->mapping = MAPPING_SHARED;
  } else {
    /* Copy on write: a store from JavaScript or from recovery stays in this process instead of raising SIGSEGV. */
    base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, region->file.fd, 0);
    region->mapping = MAPPING_PRIVATE;
    if (base == MAP_FAILED) {
      base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, region->file.fd, 0); /* devdax has no private mappings */
      region->mapping = MAPPING_READ_ONLY;
    }
  }
  if (base == MAP_FAILED) {
    why->error = errno;
    why->doing = "map";
    region->mapping = MAPPING_NONE;
    return false;
  }
  region->base = base;
  return true;
}

void region_free(struct environment *environment, struct region *region) {
  if (region->base) munmap(region->base, region->file.bytes);
  file_close(&region->file);
  free(region->wraps);
  free(region->extents);
  free(region->steps);
  environment->regions[region->id & (REGIONS_MAX - 1)] = NULL;
  free(region);
}

int region_sync(struct region *region, uintptr_t low, uintptr_t high) {
  if (__atomic_sub_fetch(&region->syncs_to_failure, 1, __ATOMIC_RELAXED) == 0) return EIO;
  if (region->mapping != MAPPING_SHARED) return 0; /* a private mapping has nothing to write back */
  uintptr_t page_mask = ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
  uintptr_t start = low & page_mask;
  return msync((void *)start, high - start, MS_SYNC) == 0 ? 0 : errno;
}

/* Where fences are msync, writable pages would be dirty pages: those are only read in. */
int region_prefault(struct region *region, uint64_t offset, uint64_t bytes) {
  if (bytes == 0) return 0;
  uint64_t start = offset & ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
  bool write = region->mapping == MAPPING_SHARED && region->barrier != BARRIER_SYNC;
  return madvise(region->base + start, offset + bytes - start, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0 ? 0 : errno;
}

int region_persist(struct region *region, const void *start, uint64_t bytes) {
  if (bytes == 0) return 0;
  if (region->barrier == BARRIER_SYNC) return region_sync(region, (uintptr_t)start, (uintptr_t)start + bytes);
  if (region->barrier == BARRIER_CPU) flush_range(region->flush, start, bytes);
  flush_fence();
  return 0;
}
