/* Arguments of JavaScript's calls and their results: binding.h. */
#include "binding.h"

#include <string.h>

napi_value status_value(napi_env env, int status) {
  napi_value result;
  return napi_create_int32(env, status, &result) == napi_ok ? result : NULL;
}

struct module *get_arguments(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]) {
  size_t count = ARGUMENTS_MAX;
  void *data;
  return napi_get_cb_info(env, info, &count, arguments, NULL, &data) == napi_ok ? data : NULL;
}

struct tap *get_tap(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]) {
  struct module *module = get_arguments(env, info, arguments);
  uint32_t id;
  if (module == NULL || napi_get_value_uint32(env, arguments[0], &id) != napi_ok) return NULL;
  return id < module->taps_size ? module->taps[id] : NULL;
}

bool get_u32(napi_env env, napi_value value, uint32_t *number) {
  double exact;
  if (napi_get_value_double(env, value, &exact) != napi_ok || !(exact >= 0 && exact <= UINT32_MAX)) return false;
  *number = (uint32_t)exact;
  return (double)*number == exact;
}

bool get_text(napi_env env, napi_value value, char *text, size_t size) {
  size_t length;
  return napi_get_value_string_utf8(env, value, NULL, 0, &length) == napi_ok && length < size &&
         napi_get_value_string_utf8(env, value, text, size, &length) == napi_ok && strlen(text) == length;
}

void *get_elements(napi_env env, napi_value value, napi_typedarray_type type, size_t *length) {
  napi_typedarray_type actual;
  void *data;
  if (napi_get_typedarray_info(env, value, &actual, length, &data, NULL, NULL) != napi_ok) return NULL;
  return actual == type ? data : NULL;
}
