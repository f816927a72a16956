/*
 * Sockets for JavaScript: opened over its memory, their rings as ArrayBuffers, kicked, counted, waited for, closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "binding.h"

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
  if (module == NULL) return status_value(env, -EINVAL);
  int32_t *parameters = get_elements(env, arguments[0], napi_int32_array, PARAMETERS, &length);
  if (parameters == NULL) return status_value(env, -EINVAL);
  if (napi_typeof(env, arguments[3], &type) != napi_ok || type != napi_function) return status_value(env, -EINVAL);
  struct socket_options options;
  if (!get_socket_options(module, parameters, &options)) return status_value(env, -EINVAL);
  enum stage stage;
  int id = open_socket(module, &options, arguments[1], arguments[2], arguments[3], &stage);
  parameters[P_STAGE] = (int32_t)stage;
  return status_value(env, id);
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
  if (xsk == NULL) return status_value(env, -EBADF);
  if (napi_get_value_uint32(env, arguments[1], &kind) != napi_ok || kind >= RINGS) return status_value(env, -EINVAL);
  int32_t *offsets = get_elements(env, arguments[2], napi_int32_array, 5, &length);
  struct ring *ring = &xsk->rings[kind];
  if (offsets == NULL || ring->buffer != NULL) return status_value(env, -EINVAL);
  if (napi_create_external_arraybuffer(env, ring->map, ring->map_bytes, keep_map, NULL, &buffer) != napi_ok ||
      napi_create_reference(env, buffer, 0, &ring->buffer) != napi_ok)
    return status_value(env, -ENOMEM);
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

void close_socket(struct module *module, uint32_t id) {
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
  if (xsk == NULL) return status_value(env, -EBADF);
  uint32_t id = 0;
  while (module->sockets[id] != xsk) id++;
  close_socket(module, id);
  return status_value(env, 0);
}

static napi_value with_socket(napi_env env, napi_callback_info info, int (*operation)(int fd)) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct xsk *xsk = find_socket(env, module, arguments[0]);
  return status_value(env, xsk == NULL ? -EBADF : operation(xsk->fd));
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
  if (xsk == NULL) return status_value(env, -EBADF);
  double *into = get_elements(env, arguments[1], napi_float64_array, STATISTICS, &length);
  if (into == NULL) return status_value(env, -EINVAL);
  uint64_t values[STATISTICS];
  int status = socket_statistics(xsk->fd, values);
  for (int index = 0; status == 0 && index < STATISTICS; index++) into[index] = (double)values[index];
  return status_value(env, status);
}

/* arm(id): onReadable is called once, when a frame can be received. */
static napi_value js_arm(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct xsk *xsk = find_socket(env, module, arguments[0]);
  return status_value(env, xsk == NULL ? -EBADF : readiness_arm(xsk));
}

const struct entry_point socket_entry_points[] = {
    {"openSocket", js_open_socket}, {"ring", js_ring},
    {"kick", js_kick},              {"wake", js_wake},
    {"isZeroCopy", js_is_zero_copy}, {"statistics", js_statistics},
    {"arm", js_arm},                {"closeSocket", js_close_socket},
    {NULL, NULL},
};
