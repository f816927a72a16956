/*
 * The module: one table of regions for each environment (thread of Node.js), the exported functions, and what
 * the native side knows of processor and layout.
 */
#include <errno.h>
#include <stdlib.h>

#include "arguments.h"
#include "crc32c.h"
#include "errors.h"
#include "line.h"
#include "program.h"

/* cpu() -> {flush, crc} */
static napi_value cpu(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  napi_set_named_property(env, result, "flush", make_string(env, flush_name(flush_best())));
  napi_set_named_property(env, result, "crc", make_string(env, crc32c_name()));
  return result;
}

/* layout() -> the native side's table, by the names of storage/layout.ts and storage/pmem.ts */
static napi_value layout(napi_env env, napi_callback_info info) {
  (void)info;
#define WORD(field) (offsetof(struct line, field) / 4)
  static const struct {
    const char *name;
    double value;
  } entries[] = {
      {"BUFFER_BYTES", BUFFER_BYTES},
      {"BUFFER_SHIFT", BUFFER_SHIFT},
      {"LINE_BYTES", sizeof(struct line)},
      {"EXTENT_BUFFERS_SHIFT", EXTENT_BUFFERS_SHIFT},
      {"EXTENT_BUFFERS_MAX", EXTENT_BUFFERS_MAX},
      {"EXTENT_BUFFERS_STEP", EXTENT_BUFFERS_STEP},
      {"EXTENTS_MAX", EXTENTS_MAX},
      {"W_META_CRC", WORD(meta_crc)},
      {"W_STATE", WORD(state)},
      {"W_VERSION_LOW", WORD(version_low)},
      {"W_VERSION_HIGH", WORD(version_high)},
      {"W_ARRIVAL_LOW", WORD(arrival_low)},
      {"W_ARRIVAL_HIGH", WORD(arrival_high)},
      {"W_BUFFER", WORD(buffer)},
      {"W_DATA", WORD(data)},
      {"W_KEY", WORD(key)},
      {"W_VALUE", WORD(value)},
      {"W_NEXT_FRAGMENT", WORD(next_fragment)},
      {"W_SUM", WORD(sum)},
      {"W_KEY_PREFIX", WORD(key_prefix)},
      {"W_NEXT", WORD(next)},
      {"W_PAYLOAD_CRC", WORD(payload_crc)},
      {"W_PAYLOAD_CRC_COMPLEMENT", WORD(payload_crc_complement)},
      {"CRC_FIRST_WORD", LINE_CRC_FIRST / 4},
      {"CRC_END_WORD", LINE_CRC_END / 4},
      {"KIND_FREE", KIND_FREE},
      {"KIND_HEAD", KIND_HEAD},
      {"FLAG_MEMBER", FLAG_MEMBER},
      {"OP_FLUSH_VIEW", OP_FLUSH_VIEW},
      {"OP_FLUSH_LINE", OP_FLUSH_LINE},
      {"OP_FENCE", OP_FENCE},
      {"OP_SEAL_LINE", OP_SEAL_LINE},
      {"OP_CLEAR_LINE", OP_CLEAR_LINE},
      {"OP_CRC_VIEW", OP_CRC_VIEW},
      {"OPERATION_WORDS", OPERATION_WORDS},
      {"OPERATIONS_MAX", OPERATIONS_MAX},
      {"COUNTER_PROGRAMS", COUNTER_PROGRAMS},
      {"COUNTER_FENCES", COUNTER_FENCES},
      {"COUNTER_FLUSHED_LINES", COUNTER_FLUSHED_LINES},
      {"COUNTER_SEALS", COUNTER_SEALS},
      {"COUNTER_CLEARS", COUNTER_CLEARS},
      {"COUNTER_SYNCS", COUNTER_SYNCS},
      {"LINE_FREE", LINE_FREE},
      {"LINE_VALID", LINE_VALID},
      {"LINE_INVALID", LINE_INVALID},
      {"LINE_WHOLE", LINE_WHOLE},
      {"DIGEST_LINK", DIGEST_LINK},
      {"DIGEST_KEY", DIGEST_KEY},
      {"DIGEST_WORDS", DIGEST_WORDS},
      {"TALLY_COMMITTED", TALLY_COMMITTED},
      {"TALLY_OTHERS", TALLY_OTHERS},
      {"TALLY_VERSION_LOW", TALLY_VERSION_LOW},
      {"TALLY_VERSION_HIGH", TALLY_VERSION_HIGH},
      {"TALLY_WORDS", TALLY_WORDS},
  };
#undef WORD
  napi_value result;
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
    napi_set_named_property(env, result, entries[i].name, make_number(env, entries[i].value));
  return result;
}

static const struct export module_exports[] = {{"cpu", cpu}, {"layout", layout}, {NULL, NULL}};

/*
 * The environment ends: no JavaScript runs any more. Node waits for queued work before it runs cleanup hooks;
 * should a program run all the same, its region is left to the end of the process rather than pulled away.
 */
static void end_environment(void *data) {
  struct environment *environment = data;
  bool running = false;
  for (uint32_t slot = 0; slot < REGIONS_MAX; slot++) {
    struct region *region = environment->regions[slot];
    if (region && region->running) running = true;
    else if (region) region_free(environment, region);
  }
  if (!running) free(environment);
}

static bool export_all(napi_env env, napi_value exports, const struct export *table, struct environment *environment) {
  for (; table->name; table++) {
    napi_value function;
    if (napi_create_function(env, table->name, NAPI_AUTO_LENGTH, table->function, environment, &function) != napi_ok ||
        napi_set_named_property(env, exports, table->name, function) != napi_ok)
      return false;
  }
  return true;
}

NAPI_MODULE_INIT() {
  crc32c_init();
  struct environment *environment = calloc(1, sizeof *environment);
  if (!environment) return throw_error(env, ENOMEM, "load", "pmem-napi");
  if (napi_add_env_cleanup_hook(env, end_environment, environment) != napi_ok) {
    free(environment);
    return NULL;
  }
  bool ok = export_all(env, exports, module_exports, environment) && export_all(env, exports, file_exports, environment) &&
            export_all(env, exports, region_exports, environment) && export_all(env, exports, execute_exports, environment) &&
            export_all(env, exports, view_exports, environment) && export_all(env, exports, scan_exports, environment) &&
            export_all(env, exports, memory_exports, environment);
  return ok ? exports : NULL;
}
