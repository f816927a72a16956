/* JavaScript's entry points for an open TAP: its place in the table, its memory, its frames. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "binding.h"

enum { TAPS_MAX = 1024 };

static int free_slot(struct module *module) {
  for (uint32_t id = 0; id < module->taps_size; id++) {
    if (module->taps[id] == NULL) return (int)id;
  }
  if (module->taps_size == TAPS_MAX) return -EMFILE;
  uint32_t size = module->taps_size == 0 ? 4 : module->taps_size * 2;
  struct tap **taps = realloc(module->taps, size * sizeof *taps);
  if (taps == NULL) return -ENOMEM;
  memset(taps + module->taps_size, 0, (size - module->taps_size) * sizeof *taps);
  int id = (int)module->taps_size;
  module->taps = taps;
  module->taps_size = size;
  return id;
}

static int open_tap(struct module *module, const char *name, napi_value on_readable, enum offload offload) {
  if (module->ending) return -ECANCELED;
  int id = free_slot(module);
  if (id < 0) return id;
  int fd = interface_open(name, offload);
  if (fd < 0) return fd;
  struct tap *tap = calloc(1, sizeof *tap);
  int status = -ENOMEM;
  if (tap != NULL) {
    tap->module = module;
    tap->fd = fd;
    tap->has_headers = offload != OFFLOAD_NONE;
    status = readiness_open(tap, on_readable);
  }
  if (status < 0) {
    free(tap);
    close(fd);
    return status;
  }
  module->taps[id] = tap;
  return id;
}

/* open(name, onReadable, offload) -> id. An empty name lets the kernel choose. */
static napi_value js_open(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  char name[IFNAMSIZ];
  napi_valuetype type;
  uint32_t offload;
  if (module == NULL || !get_text(env, arguments[0], name, sizeof name)) return status_value(env, -EINVAL);
  if (!get_u32(env, arguments[2], &offload) || offload > OFFLOAD_ALL) return status_value(env, -EINVAL);
  if (napi_typeof(env, arguments[1], &type) != napi_ok || type != napi_function) return status_value(env, -EINVAL);
  return status_value(env, open_tap(module, name, arguments[1], offload));
}

void close_tap(struct module *module, uint32_t id) {
  struct tap *tap = module->taps[id];
  module->taps[id] = NULL;
  module->closing++;
  memory_detach(tap);
  readiness_close(tap);
}

static napi_value js_release(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  if (tap == NULL) return status_value(env, -EBADF);
  struct module *module = tap->module;
  uint32_t id = 0;
  while (module->taps[id] != tap) id++;
  close_tap(module, id);
  return status_value(env, 0);
}

/* attach(id, ArrayBuffer[], dataStart[], buffers[]) */
static napi_value js_attach(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  return status_value(env, tap == NULL ? -EBADF : memory_attach(tap, arguments[1], arguments[2], arguments[3]));
}

/* receiveBurst(id, Int32Array, first, count, framesMax, frameSlots) -> descriptors filled */
static napi_value js_receive_burst(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t words;
  uint32_t first, count, frames_max, frame_slots;
  if (tap == NULL) return status_value(env, -EBADF);
  int32_t *descriptors = get_elements(env, arguments[1], napi_int32_array, &words);
  if (!get_u32(env, arguments[2], &first) || !get_u32(env, arguments[3], &count) ||
      !get_u32(env, arguments[4], &frames_max) || !get_u32(env, arguments[5], &frame_slots)) {
    return status_value(env, -EINVAL);
  }
  if (count == 0) return status_value(env, 0);
  if (descriptors == NULL || (uint64_t)first + count > words / DESCRIPTOR_WORDS) return status_value(env, -EINVAL);
  if (count > RECEIVE_SLOTS_MAX || frame_slots == 0) return status_value(env, -EINVAL);
  return status_value(env,
                 burst_receive(tap, descriptors + (size_t)first * DESCRIPTOR_WORDS, count, frames_max, frame_slots));
}

/* transmitBurst(id, Int32Array, count) -> frames sent */
static napi_value js_transmit_burst(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t words;
  uint32_t count;
  if (tap == NULL) return status_value(env, -EBADF);
  const int32_t *descriptors = get_elements(env, arguments[1], napi_int32_array, &words);
  if (!get_u32(env, arguments[2], &count)) return status_value(env, -EINVAL);
  if (count == 0) return status_value(env, 0);
  if (descriptors == NULL || count > words / DESCRIPTOR_WORDS) return status_value(env, -EINVAL);
  return status_value(env, burst_transmit(tap, descriptors, count));
}

/* readCounters(id, Float64Array(COUNTERS)) */
static napi_value js_read_counters(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t length;
  if (tap == NULL) return status_value(env, -EBADF);
  double *counters = get_elements(env, arguments[1], napi_float64_array, &length);
  if (counters == NULL || length < COUNTERS) return status_value(env, -EINVAL);
  for (int index = 0; index < COUNTERS; index++) counters[index] = (double)tap->counters[index];
  return status_value(env, 0);
}

/* arm(id): onReadable is called once, when a frame can be received. */
static napi_value js_arm(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  return status_value(env, tap == NULL ? -EBADF : readiness_arm(tap));
}

/* sum(Uint8Array) -> Internet sum, for comparison with a reference */
static napi_value js_sum(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  size_t length;
  if (get_arguments(env, info, arguments) == NULL) return status_value(env, -EINVAL);
  const uint8_t *bytes = get_elements(env, arguments[0], napi_uint8_array, &length);
  if (bytes == NULL && length != 0) return status_value(env, -EINVAL);
  return status_value(env, (int)inet_sum(bytes, length));
}

const struct entry_point tap_entry_points[] = {
    {"open", js_open},
    {"release", js_release},
    {"attach", js_attach},
    {"receiveBurst", js_receive_burst},
    {"transmitBurst", js_transmit_burst},
    {"readCounters", js_read_counters},
    {"arm", js_arm},
    {"sum", js_sum},
    {NULL, NULL},
};
