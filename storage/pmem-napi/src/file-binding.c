/* Bindings of file.c: createFile, publish, abandon, openFile, fileInfo, read, write, resizeFile, syncFile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "errors.h"
#include "filesystem.h"

#define MODE_MAX 0777u
#define COPY_BYTES_MAX (64u << 20) /* read and write are for headers and tools; the rest goes through the mapping */

static napi_value add_region(napi_env env, struct environment *environment, struct file *file) {
  struct region *region = region_add(environment, file);
  if (!region) return throw_error(env, EMFILE, "open", "region: too many regions in this process");

  napi_value buffer, array;
  void *counters;
  const size_t bytes = COUNTERS * sizeof(double);
  if (napi_create_arraybuffer(env, bytes, &counters, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_float64_array, COUNTERS, buffer, 0, &array) != napi_ok ||
      napi_create_reference(env, array, 1, &region->counters_array) != napi_ok) {
    region_free(environment, region);
    return NULL;
  }
  memset(counters, 0, bytes);
  region->counters = counters;
  return make_number(env, region->id);
}

/* createFile(path, bytes, mode) -> handle */
static napi_value create_file(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct environment *environment;
  char path[PATH_BYTES_MAX];
  uint64_t bytes;
  uint32_t mode;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  if (!argument_path(env, values[0], path)) return throw_invalid(env, "path must be a string of 1 to 4095 bytes without NUL");
  if (!argument_whole(env, values[1], &bytes) || bytes == 0) return throw_invalid(env, "bytes must be a whole number, at least 1");
  if (!argument_u32(env, values[2], &mode) || mode > MODE_MAX) return throw_invalid(env, "mode must be permission bits");
  struct file file;
  struct failure why = {0};
  if (!file_create(&file, path, bytes, mode, &why)) return throw_error(env, why.error, why.doing, path);
  return add_region(env, environment, &file);
}

/* openFile(path, writable, exclusive) -> handle */
static napi_value open_file(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct environment *environment;
  char path[PATH_BYTES_MAX];
  bool writable, exclusive;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  if (!argument_path(env, values[0], path)) return throw_invalid(env, "path must be a string of 1 to 4095 bytes without NUL");
  if (napi_get_value_bool(env, values[1], &writable) != napi_ok || napi_get_value_bool(env, values[2], &exclusive) != napi_ok)
    return throw_invalid(env, "writable and exclusive must be booleans");
  struct file file;
  struct failure why = {0};
  if (!file_open(&file, path, writable, exclusive, &why)) return throw_error(env, why.error, why.doing, path);
  return add_region(env, environment, &file);
}

static struct region *only_region(napi_env env, napi_callback_info info, struct environment **environment) {
  napi_value value;
  if (!arguments_get(env, info, 1, &value, environment)) return NULL;
  return argument_region(env, value, *environment);
}

/* publish(handle) */
static napi_value publish(napi_env env, napi_callback_info info) {
  struct environment *environment;
  struct failure why = {0};
  struct region *region = only_region(env, info, &environment);
  if (!region) return NULL;
  if (!file_publish(&region->file, &why)) throw_error(env, why.error, why.doing, region->file.name ? region->file.name : "the region");
  return NULL;
}

/* abandon(handle) */
static napi_value abandon(napi_env env, napi_callback_info info) {
  struct environment *environment;
  struct region *region = only_region(env, info, &environment);
  if (!region) return NULL;
  if (!region->file.temporary) return throw_error(env, EINVAL, "abandon", "a published region");
  if (region->running) return throw_error(env, EBUSY, "abandon", "the region while a program runs");
  region_detach(env, region);
  region_free(environment, region); /* removes what is not published */
  return NULL;
}

/* fileInfo(handle) -> {bytes, device, fsType, fsName} */
static napi_value file_info(napi_env env, napi_callback_info info) {
  struct environment *environment;
  struct region *region = only_region(env, info, &environment);
  if (!region) return NULL;
  uint64_t magic = 0;
  if (!region->file.device && !filesystem_magic(region->file.fd, &magic)) return throw_error(env, errno, "examine", "the region's file system");
  napi_value result;
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  napi_set_named_property(env, result, "bytes", make_number(env, (double)region->file.bytes));
  napi_set_named_property(env, result, "device", make_bool(env, region->file.device));
  napi_set_named_property(env, result, "fsType", make_number(env, (double)magic));
  napi_set_named_property(env, result, "fsName", make_string(env, region->file.device ? "devdax" : filesystem_name(magic)));
  return result;
}

/* A DAX device has no read or write calls and hugetlbfs no write call: their mapping serves both. */
static uint8_t *mapped_memory(struct region *region, uint64_t offset, size_t bytes, struct failure *why) {
  if (!region_map(region, why)) return NULL;
  if (offset <= region->file.bytes && bytes <= region->file.bytes - offset) return region->base + offset;
  why->error = ERANGE;
  why->doing = "reach past the end of";
  return NULL;
}

/* read(handle, offset, length) -> Uint8Array */
static napi_value read_file(napi_env env, napi_callback_info info) {
  napi_value values[3], buffer, result = NULL;
  struct environment *environment;
  uint64_t offset, length;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  if (!argument_whole(env, values[1], &offset) || !argument_whole(env, values[2], &length) || length > COPY_BYTES_MAX)
    return throw_invalid(env, "offset and length must be whole numbers, length at most 64 MiB");
  void *to;
  if (napi_create_arraybuffer(env, length, &to, &buffer) != napi_ok) return NULL;
  struct failure why = {0};
  if (region->file.memory_only) {
    const uint8_t *from = mapped_memory(region, offset, length, &why);
    if (from) memcpy(to, from, length);
  } else {
    file_read(&region->file, offset, to, length, &why);
  }
  if (why.error) return throw_error(env, why.error, why.doing, "the region");
  napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &result);
  return result;
}

/* write(handle, offset, bytes) */
static napi_value write_file(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct environment *environment;
  uint64_t offset;
  uint8_t *from;
  size_t length;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  if (!argument_whole(env, values[1], &offset) || !argument_bytes(env, values[2], &from, &length))
    return throw_invalid(env, "offset must be a whole number and bytes a Uint8Array");
  struct failure why = {0};
  if (!region->file.writable) return throw_error(env, EROFS, "write", "a region opened for reading");
  if (offset > region->file.bytes || length > region->file.bytes - offset)
    return throw_error(env, ERANGE, "write past the end of", "the region"); /* resizeFile comes first */
  if (region->file.memory_only) {
    uint8_t *to = mapped_memory(region, offset, length, &why);
    if (to) {
      memcpy(to, from, length);
      flush_range(region->flush, to, length);
    }
  } else {
    file_write(&region->file, offset, from, length, &why);
  }
  if (why.error) return throw_error(env, why.error, why.doing, "the region");
  return NULL;
}

/* resizeFile(handle, bytes) */
static napi_value resize_file(napi_env env, napi_callback_info info) {
  napi_value values[2];
  struct environment *environment;
  uint64_t bytes;
  if (!arguments_get(env, info, 2, values, &environment)) return NULL;
  struct region *region = argument_region(env, values[0], environment);
  if (!region) return NULL;
  if (!argument_whole(env, values[1], &bytes) || bytes == 0) return throw_invalid(env, "bytes must be a whole number, at least 1");
  if (!region->file.writable) return throw_error(env, EROFS, "resize", "a region opened for reading");
  if (region->base) return throw_error(env, EBUSY, "resize", "a region that is mapped");
  struct failure why = {0};
  if (!file_resize(&region->file, bytes, &why)) return throw_error(env, why.error, why.doing, "the region");
  return NULL;
}

/* syncFile(handle) */
static napi_value sync_file(napi_env env, napi_callback_info info) {
  struct environment *environment;
  struct failure why = {0};
  struct region *region = only_region(env, info, &environment);
  if (!region) return NULL;
  if (region->file.device) flush_fence();
  else if (!file_sync(&region->file, &why)) return throw_error(env, why.error, why.doing, "the region");
  return NULL;
}

const struct export file_exports[] = {
    {"createFile", create_file}, {"openFile", open_file}, {"publish", publish},    {"abandon", abandon},
    {"fileInfo", file_info},     {"read", read_file},     {"write", write_file},   {"syncFile", sync_file},
    {"resizeFile", resize_file},
    {NULL, NULL},
};
