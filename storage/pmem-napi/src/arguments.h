/* Arguments from JavaScript, checked, and errors to JavaScript, with a stable `code`. */
#ifndef PMEM_ARGUMENTS_H
#define PMEM_ARGUMENTS_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>

#include "region.h"

#define PATH_BYTES_MAX 4096u

/* Fetches exactly `count` arguments (missing ones are undefined) and the environment. */
bool arguments_get(napi_env env, napi_callback_info info, size_t count, napi_value *values, struct environment **environment);

/* False without an exception: the value is not a whole number in range. */
bool argument_u32(napi_env env, napi_value value, uint32_t *out);
bool argument_i32(napi_env env, napi_value value, int32_t *out);
bool argument_whole(napi_env env, napi_value value, uint64_t *out); /* 0 .. 2^53 - 1 */
bool argument_bytes(napi_env env, napi_value value, uint8_t **data, size_t *length); /* a Uint8Array */
bool argument_words(napi_env env, napi_value value, int32_t **data, size_t *length); /* an Int32Array */
bool argument_path(napi_env env, napi_value value, char path[PATH_BYTES_MAX]);
bool argument_string(napi_env env, napi_value value, char *text, size_t capacity);

/* The region of a handle; throws EBADF and returns NULL if it is closed or was never open. */
struct region *argument_region(napi_env env, napi_value value, struct environment *environment);

/* All throw and return NULL, so that a binding can return their result. */
napi_value throw_invalid(napi_env env, const char *message);
napi_value throw_error(napi_env env, int error, const char *doing, const char *what);
/* `code` of an errno or E_* number. */
const char *error_code(int error);
const char *error_text(int error);

napi_value make_bool(napi_env env, bool value);
napi_value make_number(napi_env env, double value);
napi_value make_i32(napi_env env, int32_t value);
napi_value make_string(napi_env env, const char *value);

/* One exported function. */
struct export {
  const char *name;
  napi_callback function;
};
/* The tables of the bindings, ended by a NULL name. */
extern const struct export file_exports[], region_exports[], execute_exports[], view_exports[], scan_exports[], memory_exports[];

/* Detaches every ArrayBuffer of the region; its typed arrays have length 0 from then on. */
void region_detach(napi_env env, struct region *region);

#endif
