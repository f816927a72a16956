/* Bindings of region.c and geometry.c: map, extent, close, setGeometry, setBarrier, prefault, persist, counters, failSync. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "errors.h"

/* External ArrayBuffers end at 4 GiB on Node 20, and byte offsets inside an extent should stay small integers. */
#define WRAP_BYTES_MAX (1ull << 30)
#define WRAPS_MAX (2u * EXTENTS_MAX)

void region_detach(napi_env env, struct region *region) {
  for (uint32_t i = 0; i < region->wrap_count; i++) {
    napi_value array;
    if (napi_get_reference_value(env, region->wraps[i].reference, &array) == napi_ok && array) napi_detach_arraybuffer(env, array);
    napi_delete_reference(env, region->wraps[i].reference);
  }
  region->wrap_count = 0;
  napi_delete_reference(env, region->counters_array);
}

/* map(handle) -> {mapSync, mapping} */
static napi_value map(napi_env env, napi_callback_info info) {
  static const char *const names[] = {"none", "shared", "private", "read-only"};
  napi_value value, result;
  struct environment *environment;
  struct failure why = {0};
  if (!arguments_get(env, info, 1, &value, &environment)) return NULL;
  struct region *region = argument_region(env, value, environment);
  if (!region) return NULL;
  if (!region_map(region, &why)) return throw_error(env, why.error, why.doing, "the region");
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  napi_set_named_property(env, result, "mapSync", make_bool(env, region->map_sync));
  napi_set_named_property(env, result, "mapping", make_string(env, names[region->mapping]));
  return result;
}

/* A range inside the mapping, or NULL with an exception. */
static struct region *mapped_range(napi_env env, const napi_value *values, struct environment *environment, uint64_t *offset, uint64_t *length) {
  struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  if (!region->base) {
    throw_error(env, EINVAL, "use", "a region that is not mapped");
    return NULL;
  }
  if (!argument_whole(env, values[1], offset) || !argument_whole(env, values[2], length)) {
    throw_invalid(env, "offset and length must be whole numbers");
    return NULL;
  }
  if (*offset > region->file.bytes || *length > region->file.bytes - *offset) {
    throw_error(env, ERANGE, "reach past the end of", "the region");
    return NULL;
  }
  return region;
}

/* extent(handle, offset, length) -> ArrayBuffer */
static napi_value extent(napi_env env, napi_callback_info info) {
  napi_value values[3], array;
  struct environment *environment;
  uint64_t offset, length;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  struct region *region = mapped_range(env, values, environment, &offset, &length);
  if (!region) return NULL;
  if (length == 0 || length > WRAP_BYTES_MAX) return throw_invalid(env, "an extent has 1 byte to 1 GiB");
  for (uint32_t i = 0; i < region->wrap_count; i++) {
    const struct wrap *wrap = region->wraps + i;
    if (wrap->offset == offset && wrap->bytes == length) {
      return napi_get_reference_value(env, wrap->reference, &array) == napi_ok ? array : NULL;
    }
    /* V8 knows a backing store by its address: two wraps of the same bytes are not allowed. */
    if (offset < wrap->offset + wrap->bytes && wrap->offset < offset + length)
      return throw_error(env, EEXIST, "wrap", "a range that overlaps an earlier one");
  }
  if (region->wrap_count == WRAPS_MAX) return throw_error(env, EMFILE, "wrap", "more ranges of one region");
  if (!region->wraps) region->wraps = calloc(WRAPS_MAX, sizeof *region->wraps);
  if (!region->wraps) return throw_error(env, ENOMEM, "wrap", "a range");
  struct wrap *wrap = region->wraps + region->wrap_count;
  napi_status status = napi_create_external_arraybuffer(env, region->base + offset, length, NULL, NULL, &array);
  if (status == napi_no_external_buffers_allowed)
    return throw_error(env, EOPNOTSUPP, "wrap", "memory: this JavaScript engine allows no external ArrayBuffers");
  if (status != napi_ok) return throw_error(env, ENOMEM, "wrap", "a range");
  if (napi_create_reference(env, array, 1, &wrap->reference) != napi_ok) {
    napi_detach_arraybuffer(env, array);
    return throw_error(env, ENOMEM, "wrap", "a range");
  }
  wrap->offset = offset;
  wrap->bytes = length;
  region->wrap_count++;
  return array;
}

/* close(handle) */
static napi_value close_region(napi_env env, napi_callback_info info) {
  napi_value value;
  struct environment *environment;
  if (!arguments_get(env, info, 1, &value, &environment)) return NULL;
  struct region *region = argument_region(env, value, environment);
  if (!region) return NULL;
  if (region->running) return throw_error(env, EBUSY, "close", "the region while a program runs");
  region_detach(env, region);
  region_free(environment, region);
  return NULL;
}

/* Reads an array of whole numbers; returns its length, or 0 if it is not one or too long. */
static uint32_t whole_numbers(napi_env env, napi_value array, double numbers[EXTENTS_MAX]) {
  uint32_t length;
  bool is_array = false;
  if (napi_is_array(env, array, &is_array) != napi_ok || !is_array) return 0;
  if (napi_get_array_length(env, array, &length) != napi_ok || length > EXTENTS_MAX) return 0;
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    uint64_t number;
    if (napi_get_element(env, array, i, &element) != napi_ok || !argument_whole(env, element, &number)) return 0;
    numbers[i] = (double)number;
  }
  return length;
}

/* setGeometry(handle, extentOffsets, extentBuffers, linesPerBuffer) */
static napi_value set_geometry(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct environment *environment;
  double offsets[EXTENTS_MAX], buffers[EXTENTS_MAX];
  uint32_t lines_per_buffer;
  const char *reason;
  if (!arguments_get(env, info, 4, values, &environment)) return NULL;
  struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  uint32_t count = whole_numbers(env, values[1], offsets);
  if (count == 0 || whole_numbers(env, values[2], buffers) != count || !argument_u32(env, values[3], &lines_per_buffer))
    return throw_invalid(env, "extentOffsets and extentBuffers must be arrays of 1 to 64 whole numbers, equally long");
  /* Reading the arrays may have run JavaScript (accessors): the region is looked up again. */
  region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  if (!region->base) return throw_error(env, EINVAL, "lay out", "a region that is not mapped");
  if (region->running) return throw_error(env, EBUSY, "lay out", "the region while a program runs");
  if (!geometry_set(region, offsets, buffers, count, lines_per_buffer, &reason)) return throw_invalid(env, reason);
  return NULL;
}

/* Bounds a wait: a program of a whole batch stays below a second. */
#define LINE_LATENCY_NS_MAX 100000u

/* setBarrier(handle, barrier, flush, line latency in ns) ; flush "" = the processor's best */
static napi_value set_barrier(napi_env env, napi_callback_info info) {
  static const char *const names[] = {"cpu", "cpu-no-flush", "sync"};
  napi_value values[4];
  struct environment *environment;
  char name[16], flush[16];
  uint32_t latency_ns;
  if (!arguments_get(env, info, 4, values, &environment)) return NULL;
  struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  uint32_t barrier = 0;
  if (!argument_string(env, values[1], name, sizeof name) || !argument_string(env, values[2], flush, sizeof flush))
    return throw_invalid(env, "barrier must be 'cpu', 'cpu-no-flush' or 'sync'");
  while (barrier < 3 && strcmp(names[barrier], name) != 0) barrier++;
  if (barrier == 3) return throw_invalid(env, "barrier must be 'cpu', 'cpu-no-flush' or 'sync'");
  enum flush_kind kind = flush[0] ? flush_by_name(flush) : flush_best();
  if (flush[0] && kind == FLUSH_NONE) return throw_invalid(env, "no flush instruction of that name");
  if (barrier == BARRIER_CPU && !flush_supported(kind))
    return throw_error(env, EOPNOTSUPP, "flush with", flush[0] ? flush : "this processor");
  if (!argument_u32(env, values[3], &latency_ns) || latency_ns > LINE_LATENCY_NS_MAX)
    return throw_invalid(env, "the latency of a line must be a whole number from 0 to 100000 ns");
  if (region->running) return throw_error(env, EBUSY, "change the barrier of", "the region while a program runs");
  region->barrier = (enum barrier)barrier;
  region->flush = kind;
  region->line_latency_ns = latency_ns;
  region->lines_to_wait_for = 0;
  return NULL;
}

/* prefault(handle, offset, length) -> whether this kernel can */
static napi_value prefault(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct environment *environment;
  uint64_t offset, length;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  struct region *region = mapped_range(env, values, environment, &offset, &length);
  if (!region) return NULL;
  int error = region_prefault(region, offset, length);
  if (error && error != EINVAL) return throw_error(env, error, "prefault", "the region");
  return make_bool(env, error == 0);
}

/* persist(handle, offset, length) */
static napi_value persist(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct environment *environment;
  uint64_t offset, length;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  struct region *region = mapped_range(env, values, environment, &offset, &length);
  if (!region) return NULL;
  int error = region_persist(region, region->base + offset, length);
  if (error) return throw_error(env, error, "sync", "the region");
  return NULL;
}

/* counters(handle) -> Float64Array */
static napi_value counters(napi_env env, napi_callback_info info) {
  napi_value value, result = NULL;
  struct environment *environment;
  if (!arguments_get(env, info, 1, &value, &environment)) return NULL;
  struct region *region = argument_region(env, value, environment);
  if (region) napi_get_reference_value(env, region->counters_array, &result);
  return result;
}

/* failSync(handle, n) */
static napi_value fail_sync(napi_env env, napi_callback_info info) {
  napi_value values[2];
  struct environment *environment;
  uint32_t nth;
  if (!arguments_get(env, info, 2, values, &environment)) return NULL;
  struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  if (!argument_u32(env, values[1], &nth)) return throw_invalid(env, "n must be a whole number");
  __atomic_store_n(&region->syncs_to_failure, nth, __ATOMIC_RELAXED);
  return NULL;
}

const struct export region_exports[] = {
    {"map", map},          {"extent", extent},     {"close", close_region}, {"setGeometry", set_geometry},
    {"setBarrier", set_barrier}, {"prefault", prefault}, {"persist", persist}, {"counters", counters}, {"failSync", fail_sync},
    {NULL, NULL},
};
