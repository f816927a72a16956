/*
 * JavaScript's entry points. An open TAP is named by a small integer, checked against the table of this
 * environment at each call: no argument, however wrong, reaches memory that is not a TAP.
 *
 * Every function returns 0, a count or text, or -errno (-EINVAL for arguments of the wrong type or range).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tap.h"

enum { ARGUMENTS_MAX = 6, TAPS_MAX = 1024 };

/* --- arguments and results --- */

static napi_value integer(napi_env env, int value) {
  napi_value result;
  return napi_create_int32(env, value, &result) == napi_ok ? result : NULL;
}

static napi_value text_or_status(napi_env env, int status, const char *text) {
  napi_value result;
  if (status < 0) return integer(env, status);
  return napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result) == napi_ok ? result : NULL;
}

/* Missing arguments become undefined, which no getter below accepts. */
static struct module *get_arguments(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]) {
  size_t count = ARGUMENTS_MAX;
  void *data;
  return napi_get_cb_info(env, info, &count, arguments, NULL, &data) == napi_ok ? data : NULL;
}

/* The TAP that the first argument names, or NULL. */
static struct tap *get_tap(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]) {
  struct module *module = get_arguments(env, info, arguments);
  uint32_t id;
  if (module == NULL || napi_get_value_uint32(env, arguments[0], &id) != napi_ok) return NULL;
  return id < module->taps_size ? module->taps[id] : NULL;
}

static bool get_u32(napi_env env, napi_value value, uint32_t *number) {
  double exact;
  if (napi_get_value_double(env, value, &exact) != napi_ok || !(exact >= 0 && exact <= UINT32_MAX)) return false;
  *number = (uint32_t)exact;
  return (double)*number == exact;
}

/* False for anything but a string that fits whole and holds no NUL. */
static bool get_text(napi_env env, napi_value value, char *text, size_t size) {
  size_t length;
  return napi_get_value_string_utf8(env, value, NULL, 0, &length) == napi_ok && length < size &&
         napi_get_value_string_utf8(env, value, text, size, &length) == napi_ok && strlen(text) == length;
}

/* Elements of a typed array of the given type; NULL otherwise, and for one whose memory is gone. */
static void *get_elements(napi_env env, napi_value value, napi_typedarray_type type, size_t *length) {
  napi_typedarray_type actual;
  void *data;
  if (napi_get_typedarray_info(env, value, &actual, length, &data, NULL, NULL) != napi_ok) return NULL;
  return actual == type ? data : NULL;
}

/* --- open and close --- */

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
  if (module == NULL || !get_text(env, arguments[0], name, sizeof name)) return integer(env, -EINVAL);
  if (!get_u32(env, arguments[2], &offload) || offload > OFFLOAD_ALL) return integer(env, -EINVAL);
  if (napi_typeof(env, arguments[1], &type) != napi_ok || type != napi_function) return integer(env, -EINVAL);
  return integer(env, open_tap(module, name, arguments[1], offload));
}

/* The TAP has left the table; libuv calls module_tap_closed when its memory is free. */
static void close_tap(struct module *module, uint32_t id) {
  struct tap *tap = module->taps[id];
  module->taps[id] = NULL;
  module->closing++;
  memory_detach(tap);
  readiness_close(tap);
}

static napi_value js_release(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  if (tap == NULL) return integer(env, -EBADF);
  struct module *module = tap->module;
  uint32_t id = 0;
  while (module->taps[id] != tap) id++;
  close_tap(module, id);
  return integer(env, 0);
}

static napi_value js_probe(napi_env env, napi_callback_info info) {
  (void)info;
  return integer(env, interface_probe());
}

/* --- configuration --- */

static napi_value js_name(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  char name[IFNAMSIZ];
  return text_or_status(env, tap == NULL ? -EBADF : interface_name(tap->fd, name), name);
}

static napi_value js_set_persistent(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  bool persistent;
  if (tap == NULL) return integer(env, -EBADF);
  if (napi_get_value_bool(env, arguments[1], &persistent) != napi_ok) return integer(env, -EINVAL);
  return integer(env, interface_set_persistent(tap->fd, persistent));
}

/* getMac(id, Uint8Array(6)) */
static napi_value js_get_mac(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t length;
  if (tap == NULL) return integer(env, -EBADF);
  uint8_t *mac = get_elements(env, arguments[1], napi_uint8_array, &length);
  return integer(env, mac == NULL || length != 6 ? -EINVAL : interface_get_mac(tap->fd, mac));
}

static napi_value js_set_mac(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t length;
  if (tap == NULL) return integer(env, -EBADF);
  const uint8_t *mac = get_elements(env, arguments[1], napi_uint8_array, &length);
  return integer(env, mac == NULL || length != 6 ? -EINVAL : interface_set_mac(tap->fd, mac));
}

/* A number of the interface: get(id), set(id, number). */
static napi_value get_number(napi_env env, napi_callback_info info, int (*get)(int fd)) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  return integer(env, tap == NULL ? -EBADF : get(tap->fd));
}

static napi_value set_number(napi_env env, napi_callback_info info, int (*set)(int fd, uint32_t number)) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  uint32_t number;
  if (tap == NULL) return integer(env, -EBADF);
  return integer(env, get_u32(env, arguments[1], &number) ? set(tap->fd, number) : -EINVAL);
}

static napi_value js_get_mtu(napi_env env, napi_callback_info info) {
  return get_number(env, info, interface_get_mtu);
}

static napi_value js_set_mtu(napi_env env, napi_callback_info info) {
  return set_number(env, info, interface_set_mtu);
}

static napi_value js_get_queue_length(napi_env env, napi_callback_info info) {
  return get_number(env, info, interface_get_queue_length);
}

static napi_value js_set_queue_length(napi_env env, napi_callback_info info) {
  return set_number(env, info, interface_set_queue_length);
}

static napi_value js_get_up(napi_env env, napi_callback_info info) {
  return get_number(env, info, interface_get_up);
}

static napi_value js_set_up(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  bool up;
  if (tap == NULL) return integer(env, -EBADF);
  return integer(env, napi_get_value_bool(env, arguments[1], &up) == napi_ok ? interface_set_up(tap->fd, up) : -EINVAL);
}

/* 4 or 6, to the address family; 0 for anything else. */
static int get_family(napi_env env, napi_value value) {
  uint32_t version;
  if (!get_u32(env, value, &version)) return 0;
  return version == 4 ? AF_INET : version == 6 ? AF_INET6 : 0;
}

/* getAddress(id, 4 | 6) -> "address/prefix" or "" */
static napi_value js_get_address(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  char text[ADDRESS_TEXT_BYTES];
  if (tap == NULL) return integer(env, -EBADF);
  int family = get_family(env, arguments[1]);
  return text_or_status(env, family == 0 ? -EINVAL : interface_get_address(tap->fd, family, text), text);
}

/* setAddress(id, 4 | 6, address, prefix) */
static napi_value js_set_address(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  char address[INET6_ADDRSTRLEN];
  uint32_t prefix;
  if (tap == NULL) return integer(env, -EBADF);
  int family = get_family(env, arguments[1]);
  if (family == 0 || !get_text(env, arguments[2], address, sizeof address) || !get_u32(env, arguments[3], &prefix)) {
    return integer(env, -EINVAL);
  }
  return integer(env, interface_set_address(tap->fd, family, address, prefix));
}

/* getSteering(id) -> mask */
static napi_value js_get_steering(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  char text[STEERING_TEXT_BYTES];
  return text_or_status(env, tap == NULL ? -EBADF : steering_get(tap->fd, text), text);
}

/* setSteering(id, mask) */
static napi_value js_set_steering(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  char text[STEERING_TEXT_BYTES];
  if (tap == NULL) return integer(env, -EBADF);
  return integer(env, get_text(env, arguments[1], text, sizeof text) ? steering_set(tap->fd, text) : -EINVAL);
}

/* --- frames --- */

/* attach(id, ArrayBuffer[], dataStart[], buffers[]) */
static napi_value js_attach(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  return integer(env, tap == NULL ? -EBADF : memory_attach(tap, arguments[1], arguments[2], arguments[3]));
}

/* receiveBurst(id, Int32Array, first, count, framesMax, frameSlots) -> descriptors filled */
static napi_value js_receive_burst(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t words;
  uint32_t first, count, frames_max, frame_slots;
  if (tap == NULL) return integer(env, -EBADF);
  int32_t *descriptors = get_elements(env, arguments[1], napi_int32_array, &words);
  if (!get_u32(env, arguments[2], &first) || !get_u32(env, arguments[3], &count) ||
      !get_u32(env, arguments[4], &frames_max) || !get_u32(env, arguments[5], &frame_slots)) {
    return integer(env, -EINVAL);
  }
  if (count == 0) return integer(env, 0);
  if (descriptors == NULL || (uint64_t)first + count > words / DESCRIPTOR_WORDS) return integer(env, -EINVAL);
  if (count > RECEIVE_SLOTS_MAX || frame_slots == 0) return integer(env, -EINVAL);
  return integer(env,
                 burst_receive(tap, descriptors + (size_t)first * DESCRIPTOR_WORDS, count, frames_max, frame_slots));
}

/* transmitBurst(id, Int32Array, count) -> frames sent */
static napi_value js_transmit_burst(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t words;
  uint32_t count;
  if (tap == NULL) return integer(env, -EBADF);
  const int32_t *descriptors = get_elements(env, arguments[1], napi_int32_array, &words);
  if (!get_u32(env, arguments[2], &count)) return integer(env, -EINVAL);
  if (count == 0) return integer(env, 0);
  if (descriptors == NULL || count > words / DESCRIPTOR_WORDS) return integer(env, -EINVAL);
  return integer(env, burst_transmit(tap, descriptors, count));
}

/* readCounters(id, Float64Array(COUNTERS)) */
static napi_value js_read_counters(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t length;
  if (tap == NULL) return integer(env, -EBADF);
  double *counters = get_elements(env, arguments[1], napi_float64_array, &length);
  if (counters == NULL || length < COUNTERS) return integer(env, -EINVAL);
  for (int index = 0; index < COUNTERS; index++) counters[index] = (double)tap->counters[index];
  return integer(env, 0);
}

/* arm(id): onReadable is called once, when a frame can be received. */
static napi_value js_arm(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  return integer(env, tap == NULL ? -EBADF : readiness_arm(tap));
}

/* sum(Uint8Array) -> Internet sum, for comparison with a reference */
static napi_value js_sum(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  size_t length;
  if (get_arguments(env, info, arguments) == NULL) return integer(env, -EINVAL);
  const uint8_t *bytes = get_elements(env, arguments[0], napi_uint8_array, &length);
  if (bytes == NULL && length != 0) return integer(env, -EINVAL);
  return integer(env, (int)inet_sum(bytes, length));
}

/* --- life of the environment --- */

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
  static const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"open", js_open},
      {"release", js_release},
      {"probe", js_probe},
      {"getName", js_name},
      {"setPersistent", js_set_persistent},
      {"getMac", js_get_mac},
      {"setMac", js_set_mac},
      {"getMtu", js_get_mtu},
      {"setMtu", js_set_mtu},
      {"getQueueLength", js_get_queue_length},
      {"setQueueLength", js_set_queue_length},
      {"getUp", js_get_up},
      {"setUp", js_set_up},
      {"getAddress", js_get_address},
      {"setAddress", js_set_address},
      {"getSteering", js_get_steering},
      {"setSteering", js_set_steering},
      {"attach", js_attach},
      {"receiveBurst", js_receive_burst},
      {"transmitBurst", js_transmit_burst},
      {"readCounters", js_read_counters},
      {"arm", js_arm},
      {"sum", js_sum},
  };
  struct module *module = calloc(1, sizeof *module);
  if (module == NULL) goto failed;
  module->env = env;
  if (napi_get_uv_event_loop(env, &module->loop) != napi_ok) goto failed;
  for (size_t index = 0; index < sizeof functions / sizeof functions[0]; index++) {
    napi_value function;
    if (napi_create_function(env, functions[index].name, NAPI_AUTO_LENGTH, functions[index].function, module,
                             &function) != napi_ok ||
        napi_set_named_property(env, exports, functions[index].name, function) != napi_ok)
      goto failed;
  }
  if (napi_add_async_cleanup_hook(env, on_environment_end, module, &module->cleanup) != napi_ok) goto failed;
  return exports;

failed:
  free(module);
  napi_throw_error(env, "ERR_TUNTAP2_INIT", "tuntap2 could not be initialised: out of memory");
  return NULL;
}
