/*
 * The life of an environment: its table of open TAPs, and their end with it. The environment waits until libuv has
 * given back every poll handle; only then is the module's memory freed.
 */
#include <stdlib.h>

#include "binding.h"

static void finish(struct module *module) {
  napi_async_cleanup_hook_handle cleanup = module->cleanup;
  free(module->taps);
  free(module);
  napi_remove_async_cleanup_hook(cleanup);
}

void module_tap_closed(struct module *module) {
  module->closing--;
  if (module->ending && module->closing == 0) finish(module);
}

/* The environment ends: it waits until the poll handles have left its loop. */
static void on_environment_end(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  struct module *module = data;
  module->ending = true;
  for (uint32_t id = 0; id < module->taps_size; id++) {
    if (module->taps[id] != NULL) close_tap(module, id);
  }
  if (module->closing == 0) finish(module);
}

NAPI_MODULE_INIT(/* napi_env env, napi_value exports */) {
  static const struct entry_point *const tables[] = {tap_entry_points, interface_entry_points};
  struct module *module = calloc(1, sizeof *module);
  if (module == NULL) goto failed;
  module->env = env;
  if (napi_get_uv_event_loop(env, &module->loop) != napi_ok) goto failed;
  for (size_t table = 0; table < sizeof tables / sizeof tables[0]; table++) {
    for (const struct entry_point *entry = tables[table]; entry->name != NULL; entry++) {
      napi_value function;
      if (napi_create_function(env, entry->name, NAPI_AUTO_LENGTH, entry->function, module, &function) != napi_ok ||
          napi_set_named_property(env, exports, entry->name, function) != napi_ok)
        goto failed;
    }
  }
  if (napi_add_async_cleanup_hook(env, on_environment_end, module, &module->cleanup) != napi_ok) goto failed;
  return exports;

failed:
  free(module);
  napi_throw_error(env, "ERR_TUNTAP2_INIT", "tuntap2 could not be initialised: out of memory");
  return NULL;
}
