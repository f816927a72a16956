#include "arguments.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "errors.h"

#define WHOLE_MAX 9007199254740991.0 /* Number.MAX_SAFE_INTEGER */

bool arguments_get(napi_env env, napi_callback_info info, size_t count, napi_value *values, struct environment **environment) {
  return napi_get_cb_info(env, info, &count, values, NULL, (void **)environment) == napi_ok;
}

bool argument_u32(napi_env env, napi_value value, uint32_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number <= UINT32_MAX)) return false;
  *out = (uint32_t)number;
  return *out == number;
}

bool argument_i32(napi_env env, napi_value value, int32_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= INT32_MIN && number <= INT32_MAX)) return false;
  *out = (int32_t)number;
  return *out == number;
}

bool argument_whole(napi_env env, napi_value value, uint64_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number <= WHOLE_MAX)) return false;
  *out = (uint64_t)number;
  return (double)*out == number;
}

static bool typed_array(napi_env env, napi_value value, napi_typedarray_type wanted, void **data, size_t *length) {
  bool is_typed_array = false;
  napi_typedarray_type type;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array) return false;
  return napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) == napi_ok && type == wanted;
}

bool argument_bytes(napi_env env, napi_value value, uint8_t **data, size_t *length) {
  return typed_array(env, value, napi_uint8_array, (void **)data, length);
}

bool argument_words(napi_env env, napi_value value, int32_t **data, size_t *length) {
  return typed_array(env, value, napi_int32_array, (void **)data, length);
}

bool argument_string(napi_env env, napi_value value, char *text, size_t capacity) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok || length >= capacity) return false;
  return napi_get_value_string_utf8(env, value, text, capacity, &length) == napi_ok && memchr(text, 0, length) == NULL;
}

bool argument_path(napi_env env, napi_value value, char path[PATH_BYTES_MAX]) {
  return argument_string(env, value, path, PATH_BYTES_MAX) && path[0] != 0;
}

struct region *argument_region(napi_env env, napi_value value, struct environment *environment) {
  uint32_t id;
  struct region *region = argument_u32(env, value, &id) ? region_find(environment, id) : NULL;
  if (!region) napi_throw_error(env, "EBADF", "not an open region: the handle was closed or never opened");
  return region;
}

/* Every number that a system call of this package is known to give; the rest is told by the text alone. */
const char *error_code(int error) {
  static const struct {
    int error;
    const char *code;
  } codes[] = {
      {E_LOCKED, "ELOCKED"}, {E_FILE_TYPE, "EFTYPE"}, {EACCES, "EACCES"},   {EAGAIN, "EAGAIN"},
      {EBADF, "EBADF"},      {EBUSY, "EBUSY"},        {EDQUOT, "EDQUOT"},   {EEXIST, "EEXIST"},
      {EFBIG, "EFBIG"},      {EINTR, "EINTR"},        {EINVAL, "EINVAL"},   {EIO, "EIO"},
      {EISDIR, "EISDIR"},    {ELOOP, "ELOOP"},        {EMFILE, "EMFILE"},   {ENAMETOOLONG, "ENAMETOOLONG"},
      {ENFILE, "ENFILE"},    {ENODEV, "ENODEV"},      {ENOENT, "ENOENT"},   {ENOLCK, "ENOLCK"},
      {ENOMEM, "ENOMEM"},    {ENOSPC, "ENOSPC"},      {ENOSYS, "ENOSYS"},   {ENOTDIR, "ENOTDIR"},
      {ENXIO, "ENXIO"},      {EOPNOTSUPP, "ENOTSUP"}, {EPERM, "EPERM"},     {ERANGE, "ERANGE"},
      {EROFS, "EROFS"},      {ESTALE, "ESTALE"},      {ETXTBSY, "ETXTBSY"}, {EXDEV, "EXDEV"},
  };
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (codes[i].error == error) return codes[i].code;
  return "EUNKNOWN";
}

const char *error_text(int error) {
  if (error == E_LOCKED) return "in use by another process";
  if (error == E_FILE_TYPE) return "neither a regular file nor a DAX device";
  return strerror(error);
}

napi_value throw_invalid(napi_env env, const char *message) {
  napi_throw_range_error(env, "EINVAL", message);
  return NULL;
}

napi_value throw_error(napi_env env, int error, const char *doing, const char *what) {
  char message[PATH_BYTES_MAX + 256];
  snprintf(message, sizeof message, "%s %s: %s", doing, what, error_text(error));
  napi_throw_error(env, error_code(error), message);
  return NULL;
}

napi_value make_bool(napi_env env, bool value) {
  napi_value result = NULL;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value make_number(napi_env env, double value) {
  napi_value result = NULL;
  napi_create_double(env, value, &result);
  return result;
}

napi_value make_i32(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

napi_value make_string(napi_env env, const char *value) {
  napi_value result = NULL;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &result);
  return result;
}
