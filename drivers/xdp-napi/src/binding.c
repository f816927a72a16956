/* Arguments of JavaScript's calls, their results, and the tables of what is open: binding.h. */
#include "binding.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OPEN_MAX_OF_A_KIND = 1024 };

napi_value status_value(napi_env env, int value) {
  napi_value result;
  return napi_create_int32(env, value, &result) == napi_ok ? result : NULL;
}

struct module *get_arguments(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]) {
  size_t count = ARGUMENTS_MAX;
  void *data;
  return napi_get_cb_info(env, info, &count, arguments, NULL, &data) == napi_ok ? data : NULL;
}

struct xsk *find_socket(napi_env env, struct module *module, napi_value value) {
  uint32_t id;
  if (module == NULL || napi_get_value_uint32(env, value, &id) != napi_ok) return NULL;
  return id < module->sockets_size ? module->sockets[id] : NULL;
}

struct program *find_program(napi_env env, struct module *module, napi_value value) {
  uint32_t id;
  if (module == NULL || napi_get_value_uint32(env, value, &id) != napi_ok) return NULL;
  return id < module->programs_size ? module->programs[id] : NULL;
}

bool get_text(napi_env env, napi_value value, char *text, size_t size) {
  size_t length;
  return napi_get_value_string_utf8(env, value, NULL, 0, &length) == napi_ok && length < size &&
         napi_get_value_string_utf8(env, value, text, size, &length) == napi_ok && strlen(text) == length;
}

void *get_elements(napi_env env, napi_value value, napi_typedarray_type type, size_t least, size_t *length) {
  napi_typedarray_type actual;
  void *data;
  if (napi_get_typedarray_info(env, value, &actual, length, &data, NULL, NULL) != napi_ok) return NULL;
  return actual == type && *length >= least ? data : NULL;
}

int free_slot(void ***table, uint32_t *size) {
  for (uint32_t id = 0; id < *size; id++) {
    if ((*table)[id] == NULL) return (int)id;
  }
  if (*size == OPEN_MAX_OF_A_KIND) return -EMFILE;
  uint32_t grown = *size == 0 ? 4 : *size * 2;
  void **entries = realloc(*table, grown * sizeof *entries);
  if (entries == NULL) return -ENOMEM;
  memset(entries + *size, 0, (grown - *size) * sizeof *entries);
  int id = (int)*size;
  *table = entries;
  *size = grown;
  return id;
}
