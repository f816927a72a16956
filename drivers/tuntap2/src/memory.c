/*
 * The buffers that frames are read into and written from: extents of a region, each an ArrayBuffer of the caller.
 *
 *   extent   [... dataStart bytes ...][buffer 0][buffer 1]...      2048 bytes each
 *
 * Every descriptor is checked against this geometry before a byte moves. The region may be closed, which detaches
 * its ArrayBuffers and unmaps the memory, and an ArrayBuffer may shrink: each burst asks, for each extent it touches,
 * whether all of it is still there.
 */
#include <errno.h>

#include "tap.h"

static bool get_number(napi_env env, napi_value array, uint32_t index, int64_t *number) {
  napi_value value;
  return napi_get_element(env, array, index, &value) == napi_ok && napi_get_value_int64(env, value, number) == napi_ok;
}

static bool is_array(napi_env env, napi_value value) {
  bool array;
  return napi_is_array(env, value, &array) == napi_ok && array;
}

int memory_attach(struct tap *tap, napi_value memories, napi_value starts, napi_value counts) {
  napi_env env = tap->module->env;
  struct extent found[EXTENTS_MAX];
  napi_value values[EXTENTS_MAX];
  uint32_t extents;
  if (!is_array(env, memories) || !is_array(env, starts) || !is_array(env, counts)) return -EINVAL;
  if (napi_get_array_length(env, memories, &extents) != napi_ok) return -EINVAL;
  if (extents == 0 || extents > EXTENTS_MAX) return -EINVAL;

  for (uint32_t index = 0; index < extents; index++) {
    void *data;
    size_t bytes;
    int64_t start, count;
    if (napi_get_element(env, memories, index, &values[index]) != napi_ok) return -EINVAL;
    if (napi_get_arraybuffer_info(env, values[index], &data, &bytes) != napi_ok) return -EINVAL;
    if (!get_number(env, starts, index, &start) || !get_number(env, counts, index, &count)) return -EINVAL;
    if (data == NULL || start < 0 || (uint64_t)start > bytes) return -EINVAL;
    if (count < 1 || count > EXTENT_BUFFERS_MAX) return -EINVAL;
    if ((bytes - (uint64_t)start) / BUFFER_BYTES < (uint64_t)count) return -EINVAL;
    found[index] = (struct extent){
        .buffers = (uint8_t *)data + start,
        .count = (uint32_t)count,
        .end = (size_t)start + (size_t)count * BUFFER_BYTES,
    };
  }

  memory_detach(tap);
  for (uint32_t index = 0; index < extents; index++) {
    tap->extent[index] = found[index];
    if (napi_create_reference(env, values[index], 1, &tap->extent[index].memory) != napi_ok) {
      memory_detach(tap);
      return -ENOMEM;
    }
    tap->extents = index + 1;
  }
  return 0;
}

void memory_detach(struct tap *tap) {
  for (uint32_t index = 0; index < tap->extents; index++) {
    napi_delete_reference(tap->module->env, tap->extent[index].memory);
  }
  tap->extents = 0;
}

static bool is_alive(struct tap *tap, uint32_t index) {
  napi_value memory;
  void *data;
  size_t bytes; /* 0 if it is detached */
  return napi_get_reference_value(tap->module->env, tap->extent[index].memory, &memory) == napi_ok && memory != NULL &&
         napi_get_arraybuffer_info(tap->module->env, memory, &data, &bytes) == napi_ok && bytes >= tap->extent[index].end;
}

uint8_t *memory_view(struct tap *tap, uint64_t *alive, int32_t buffer, int32_t offset, int32_t length) {
  uint32_t index = (uint32_t)buffer >> EXTENT_BUFFERS_SHIFT;
  uint32_t local = (uint32_t)buffer & (EXTENT_BUFFERS_MAX - 1);
  if (index >= tap->extents || local >= tap->extent[index].count) return NULL;
  if ((uint32_t)offset > BUFFER_BYTES || (uint32_t)length > BUFFER_BYTES - (uint32_t)offset) return NULL;
  uint64_t bit = UINT64_C(1) << index;
  if ((*alive & bit) == 0) {
    if (!is_alive(tap, index)) return NULL;
    *alive |= bit;
  }
  return tap->extent[index].buffers + (size_t)local * BUFFER_BYTES + offset;
}
