/*
 * JavaScript's entry points. An open socket or program is named by a small integer, checked against the table of this
 * environment at each call: no argument, however wrong, reaches memory that is neither.
 *
 * Every function returns 0, an id or a count, or -errno (-EINVAL for arguments of the wrong type or range).
 */
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xdp.h"

enum { ARGUMENTS_MAX = 6, OPEN_MAX_OF_A_KIND = 1024 };

/* --- arguments and results --- */

static napi_value integer(napi_env env, int value) {
  napi_value result;
  return napi_create_int32(env, value, &result) == napi_ok ? result : NULL;
}

/* Missing arguments become undefined, which no getter below accepts. */
static struct module *get_arguments(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]) {
  size_t count = ARGUMENTS_MAX;
  void *data;
  return napi_get_cb_info(env, info, &count, arguments, NULL, &data) == napi_ok ? data : NULL;
}

/* The socket that an argument names, or NULL. */
static struct xsk *find_socket(napi_env env, struct module *module, napi_value value) {
  uint32_t id;
  if (module == NULL || napi_get_value_uint32(env, value, &id) != napi_ok) return NULL;
  return id < module->sockets_size ? module->sockets[id] : NULL;
}

static struct program *find_program(napi_env env, struct module *module, napi_value value) {
  uint32_t id;
  if (module == NULL || napi_get_value_uint32(env, value, &id) != napi_ok) return NULL;
  return id < module->programs_size ? module->programs[id] : NULL;
}

/* False for anything but a string that fits whole and holds no NUL. */
static bool get_text(napi_env env, napi_value value, char *text, size_t size) {
  size_t length;
  return napi_get_value_string_utf8(env, value, NULL, 0, &length) == napi_ok && length < size &&
         napi_get_value_string_utf8(env, value, text, size, &length) == napi_ok && strlen(text) == length;
}

/* Elements of a typed array of the given type with at least `least` of them; NULL otherwise. */
static void *get_elements(napi_env env, napi_value value, napi_typedarray_type type, size_t least, size_t *length) {
  napi_typedarray_type actual;
  void *data;
  if (napi_get_typedarray_info(env, value, &actual, length, &data, NULL, NULL) != napi_ok) return NULL;
  return actual == type && *length >= least ? data : NULL;
}

/* A place in a table of pointers, which grows; -errno if there is none. */
static int free_slot(void ***table, uint32_t *size) {
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

/* --- interfaces --- */

/* interface(name, Int32Array(4), Uint8Array(6)): index, mtu, up, queues; and the address */
static napi_value js_interface(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  char name[IFNAMSIZ];
  size_t length;
  if (get_arguments(env, info, arguments) == NULL) return integer(env, -EINVAL);
  if (!get_text(env, arguments[0], name, sizeof name)) return integer(env, -ENODEV);
  int32_t *values = get_elements(env, arguments[1], napi_int32_array, 4, &length);
  uint8_t *mac = get_elements(env, arguments[2], napi_uint8_array, 6, &length);
  if (values == NULL || mac == NULL) return integer(env, -EINVAL);
  struct interface interface = {0};
  int status = interface_read(name, &interface);
  if (status < 0) return integer(env, status);
  values[0] = interface.index;
  values[1] = interface.mtu;
  values[2] = interface.up;
  values[3] = interface.queues;
  memcpy(mac, interface.mac, 6);
  return integer(env, 0);
}

/* --- sockets --- */

/* Words of the parameters of openSocket; index.js names the same. */
enum {
  P_IFINDEX,
  P_QUEUE,
  P_FILL,
  P_COMPLETION,
  P_RX,
  P_TX,
  P_HEADROOM,
  P_BIND_FLAGS,
  P_BUSY_POLL_US,
  P_SHARE, /* id of the socket whose UMEM is shared, or -1 */
  P_STAGE, /* out: which step failed */
  PARAMETERS,
};

static bool get_socket_options(struct module *module, const int32_t *p, struct socket_options *options) {
  *options = (struct socket_options){
      .ifindex = (uint32_t)p[P_IFINDEX],
      .queue = (uint32_t)p[P_QUEUE],
      .entries = {[RING_FILL] = (uint32_t)p[P_FILL],
                  [RING_COMPLETION] = (uint32_t)p[P_COMPLETION],
                  [RING_RX] = (uint32_t)p[P_RX],
                  [RING_TX] = (uint32_t)p[P_TX]},
      .headroom = (uint32_t)p[P_HEADROOM],
      .bind_flags = (uint16_t)(p[P_BIND_FLAGS] & (XDP_COPY | XDP_ZEROCOPY | XDP_USE_SG)),
      .busy_poll_us = p[P_BUSY_POLL_US],
      .share_fd = -1,
  };
  for (int kind = 0; kind < RINGS; kind++) {
    uint32_t entries = options->entries[kind];
    if (entries < 2 || entries > RING_ENTRIES_MAX || (entries & (entries - 1)) != 0) return false;
  }
  if (options->busy_poll_us < 0) return false;
  if (p[P_SHARE] == -1) return true;
  if (p[P_SHARE] < 0 || (uint32_t)p[P_SHARE] >= module->sockets_size) return false;
  struct xsk *shared = module->sockets[p[P_SHARE]];
  if (shared == NULL) return false;
  options->share_fd = shared->fd;
  return true;
}

static void forget_memory(struct xsk *xsk) {
  for (uint32_t index = 0; index < xsk->extents; index++) {
    napi_delete_reference(xsk->module->env, xsk->memory[index]);
  }
  xsk->extents = 0;
}

static int open_socket(struct module *module, const struct socket_options *options, napi_value extents,
                       napi_value offsets, napi_value on_readable, enum stage *stage) {
  *stage = STAGE_SOCKET;
  if (module->ending) return -ECANCELED;
  int id = free_slot((void ***)&module->sockets, &module->sockets_size);
  if (id < 0) return id;
  struct xsk *xsk = calloc(1, sizeof *xsk);
  if (xsk == NULL) return -ENOMEM;
  xsk->module = module;
  xsk->shares = options->share_fd >= 0;
  struct umem umem = {0};
  int status = 0;
  if (!xsk->shares) {
    *stage = STAGE_UMEM;
    status = umem_find(xsk, extents, offsets, &umem);
  }
  if (status == 0) status = socket_open(xsk, options, &umem, stage);
  if (status == 0) {
    status = readiness_open(xsk, on_readable);
    if (status < 0) {
      socket_unmap(xsk);
      close(xsk->fd);
    }
  }
  if (status < 0) {
    forget_memory(xsk);
    free(xsk);
    return status;
  }
  module->sockets[id] = xsk;
  return id;
}

/* openSocket(Int32Array parameters, ArrayBuffer[] extents, number[] offsets, onReadable) -> id */
static napi_value js_open_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  size_t length;
  napi_valuetype type;
  if (module == NULL) return integer(env, -EINVAL);
  int32_t *parameters = get_elements(env, arguments[0], napi_int32_array, PARAMETERS, &length);
  if (parameters == NULL) return integer(env, -EINVAL);
  if (napi_typeof(env, arguments[3], &type) != napi_ok || type != napi_function) return integer(env, -EINVAL);
  struct socket_options options;
  if (!get_socket_options(module, parameters, &options)) return integer(env, -EINVAL);
  enum stage stage;
  int id = open_socket(module, &options, arguments[1], arguments[2], arguments[3], &stage);
  parameters[P_STAGE] = (int32_t)stage;
  return integer(env, id);
}

static void keep_map(napi_env env, void *data, void *hint) {
  (void)env;
  (void)data;
  (void)hint; /* the map belongs to the socket, which detaches the ArrayBuffer before it unmaps */
}

/* ring(id, kind, Int32Array(5)) -> ArrayBuffer; the numbers are byte offsets of producer, consumer, flags and descriptors, and entries */
static napi_value js_ring(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX], buffer;
  struct module *module = get_arguments(env, info, arguments);
  struct xsk *xsk = find_socket(env, module, arguments[0]);
  uint32_t kind;
  size_t length;
  if (xsk == NULL) return integer(env, -EBADF);
  if (napi_get_value_uint32(env, arguments[1], &kind) != napi_ok || kind >= RINGS) return integer(env, -EINVAL);
  int32_t *offsets = get_elements(env, arguments[2], napi_int32_array, 5, &length);
  struct ring *ring = &xsk->rings[kind];
  if (offsets == NULL || ring->buffer != NULL) return integer(env, -EINVAL);
  if (napi_create_external_arraybuffer(env, ring->map, ring->map_bytes, keep_map, NULL, &buffer) != napi_ok ||
      napi_create_reference(env, buffer, 0, &ring->buffer) != napi_ok)
    return integer(env, -ENOMEM);
  offsets[0] = (int32_t)ring->producer;
  offsets[1] = (int32_t)ring->consumer;
  offsets[2] = (int32_t)ring->flags;
  offsets[3] = (int32_t)ring->descriptors;
  offsets[4] = (int32_t)ring->entries;
  return buffer;
}

static void detach_rings(struct xsk *xsk) {
  napi_env env = xsk->module->env;
  for (int kind = 0; kind < RINGS; kind++) {
    napi_value buffer;
    napi_ref reference = xsk->rings[kind].buffer;
    if (reference == NULL) continue;
    if (napi_get_reference_value(env, reference, &buffer) == napi_ok && buffer != NULL) napi_detach_arraybuffer(env, buffer);
    napi_delete_reference(env, reference);
    xsk->rings[kind].buffer = NULL;
  }
}

/* The socket has left the table; libuv calls module_socket_closed when its memory is free. */
static void close_socket(struct module *module, uint32_t id) {
  struct xsk *xsk = module->sockets[id];
  module->sockets[id] = NULL;
  module->closing++;
  detach_rings(xsk);
  socket_unmap(xsk);
  forget_memory(xsk);
  readiness_close(xsk);
}

static napi_value js_close_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct xsk *xsk = find_socket(env, module, arguments[0]);
  if (xsk == NULL) return integer(env, -EBADF);
  uint32_t id = 0;
  while (module->sockets[id] != xsk) id++;
  close_socket(module, id);
  return integer(env, 0);
}

static napi_value with_socket(napi_env env, napi_callback_info info, int (*operation)(int fd)) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct xsk *xsk = find_socket(env, module, arguments[0]);
  return integer(env, xsk == NULL ? -EBADF : operation(xsk->fd));
}

static napi_value js_kick(napi_env env, napi_callback_info info) {
  return with_socket(env, info, socket_kick);
}

static napi_value js_wake(napi_env env, napi_callback_info info) {
  return with_socket(env, info, socket_wake);
}

static napi_value js_is_zero_copy(napi_env env, napi_callback_info info) {
  return with_socket(env, info, socket_is_zero_copy);
}

/* statistics(id, Float64Array(STATISTICS)) */
static napi_value js_statistics(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct xsk *xsk = find_socket(env, module, arguments[0]);
  size_t length;
  if (xsk == NULL) return integer(env, -EBADF);
  double *into = get_elements(env, arguments[1], napi_float64_array, STATISTICS, &length);
  if (into == NULL) return integer(env, -EINVAL);
  uint64_t values[STATISTICS];
  int status = socket_statistics(xsk->fd, values);
  for (int index = 0; status == 0 && index < STATISTICS; index++) into[index] = (double)values[index];
  return integer(env, status);
}

/* arm(id): onReadable is called once, when a frame can be received. */
static napi_value js_arm(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct xsk *xsk = find_socket(env, module, arguments[0]);
  return integer(env, xsk == NULL ? -EBADF : readiness_arm(xsk));
}

/* --- programs --- */

/* Bytes of the addresses of openProgram: MAC, IPv4, then IPv6 addresses. */
enum { A_MAC = 0, A_IPV4 = 6, A_IPV6 = 10 };

/* openProgram(ifindex, queues, Uint8Array addresses, native: boolean, Int32Array(1) stage) -> id */
static napi_value js_open_program(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct program_options options = {0};
  size_t length, stage_length;
  bool native;
  if (module == NULL || napi_get_value_uint32(env, arguments[0], &options.ifindex) != napi_ok ||
      napi_get_value_uint32(env, arguments[1], &options.queues) != napi_ok)
    return integer(env, -EINVAL);
  const uint8_t *addresses = get_elements(env, arguments[2], napi_uint8_array, A_IPV6, &length);
  int32_t *stage_out = get_elements(env, arguments[4], napi_int32_array, 1, &stage_length);
  if (addresses == NULL || stage_out == NULL || napi_get_value_bool(env, arguments[3], &native) != napi_ok)
    return integer(env, -EINVAL);
  if (options.queues < 1 || options.queues > QUEUES_MAX || (length - A_IPV6) % 16 != 0 ||
      (length - A_IPV6) / 16 > IPV6_ADDRESSES_MAX)
    return integer(env, -EINVAL);
  memcpy(options.mac, addresses + A_MAC, sizeof options.mac);
  memcpy(options.ipv4, addresses + A_IPV4, sizeof options.ipv4);
  memcpy(options.ipv6, addresses + A_IPV6, length - A_IPV6);
  options.ipv6_count = (uint32_t)((length - A_IPV6) / 16);
  options.attach_flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;

  int id = free_slot((void ***)&module->programs, &module->programs_size);
  if (id < 0) return integer(env, id);
  struct program *program = calloc(1, sizeof *program);
  if (program == NULL) return integer(env, -ENOMEM);
  enum program_stage stage;
  int status = program_open(program, &options, &stage);
  stage_out[0] = (int32_t)stage;
  if (status < 0) {
    free(program);
    return integer(env, status);
  }
  module->programs[id] = program;
  return integer(env, id);
}

/* setSocket(program, queue, socket) */
static napi_value js_set_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct program *program = find_program(env, module, arguments[0]);
  struct xsk *xsk = find_socket(env, module, arguments[2]);
  uint32_t queue;
  if (program == NULL || xsk == NULL) return integer(env, -EBADF);
  if (napi_get_value_uint32(env, arguments[1], &queue) != napi_ok) return integer(env, -EINVAL);
  return integer(env, program_set_socket(program, queue, xsk->fd));
}

static napi_value js_close_program(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct program *program = find_program(env, module, arguments[0]);
  if (program == NULL) return integer(env, -EBADF);
  for (uint32_t id = 0; id < module->programs_size; id++) {
    if (module->programs[id] == program) module->programs[id] = NULL;
  }
  program_close(program);
  free(program);
  return integer(env, 0);
}

static napi_value js_probe(napi_env env, napi_callback_info info) {
  (void)info;
  return integer(env, program_probe());
}

/* --- life of the environment --- */

static void finish(struct module *module) {
  napi_async_cleanup_hook_handle cleanup = module->cleanup;
  free(module->sockets);
  free(module->programs);
  free(module);
  napi_remove_async_cleanup_hook(cleanup);
}

void module_socket_closed(struct module *module) {
  module->closing--;
  if (module->ending && module->closing == 0) finish(module);
}

/* The environment ends: programs leave their interfaces, and it waits until the poll handles have left its loop. */
static void on_environment_end(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  struct module *module = data;
  module->ending = true;
  for (uint32_t id = 0; id < module->programs_size; id++) {
    if (module->programs[id] == NULL) continue;
    program_close(module->programs[id]);
    free(module->programs[id]);
  }
  for (uint32_t id = 0; id < module->sockets_size; id++) {
    if (module->sockets[id] != NULL) close_socket(module, id);
  }
  if (module->closing == 0) finish(module);
}

NAPI_MODULE_INIT(/* napi_env env, napi_value exports */) {
  static const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"interface", js_interface},       {"probe", js_probe},
      {"openSocket", js_open_socket},    {"ring", js_ring},
      {"kick", js_kick},                 {"wake", js_wake},
      {"isZeroCopy", js_is_zero_copy},   {"statistics", js_statistics},
      {"arm", js_arm},                   {"closeSocket", js_close_socket},
      {"openProgram", js_open_program},  {"setSocket", js_set_socket},
      {"closeProgram", js_close_program},
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
  napi_throw_error(env, "ERR_XDP_INIT", "xdp-napi could not be initialised: out of memory");
  return NULL;
}
