/* Interfaces and redirect programs for JavaScript. */
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

/* interface(name, Int32Array(5), Uint8Array(6)): index, mtu, up, queues, stamps; and the address */
static napi_value js_interface(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  char name[IFNAMSIZ];
  size_t length;
  if (get_arguments(env, info, arguments) == NULL) return status_value(env, -EINVAL);
  if (!get_text(env, arguments[0], name, sizeof name)) return status_value(env, -ENODEV);
  int32_t *values = get_elements(env, arguments[1], napi_int32_array, 5, &length);
  uint8_t *mac = get_elements(env, arguments[2], napi_uint8_array, 6, &length);
  if (values == NULL || mac == NULL) return status_value(env, -EINVAL);
  struct interface interface = {0};
  int status = interface_read(name, &interface);
  if (status < 0) return status_value(env, status);
  values[0] = interface.index;
  values[1] = interface.mtu;
  values[2] = interface.up;
  values[3] = interface.queues;
  values[4] = interface.stamps;
  memcpy(mac, interface.mac, 6);
  return status_value(env, 0);
}

/* Bytes of the addresses of openProgram: MAC, IPv4, then IPv6 addresses. */
enum { A_MAC = 0, A_IPV4 = 6, A_IPV6 = 10 };

/* Words of the parameters of openProgram; index.js names the same. */
enum {
  O_IFINDEX,
  O_QUEUES,
  O_NATIVE,             /* 1: in the driver, 0: in the generic path */
  O_FRAGMENTS,          /* 1: frames of several buffers, too */
  O_TIMESTAMP_FUNCTION, /* BTF id of the kernel's function, 0: no timestamps */
  O_STAGE,              /* out: which step failed */
  PARAMETERS,
};

/* openProgram(Int32Array parameters, Uint8Array addresses) -> id */
static napi_value js_open_program(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  size_t length, parameters_length;
  if (module == NULL) return status_value(env, -EINVAL);
  int32_t *parameters = get_elements(env, arguments[0], napi_int32_array, PARAMETERS, &parameters_length);
  const uint8_t *addresses = get_elements(env, arguments[1], napi_uint8_array, A_IPV6, &length);
  if (parameters == NULL || addresses == NULL) return status_value(env, -EINVAL);
  struct program_options options = {
      .ifindex = (uint32_t)parameters[O_IFINDEX],
      .queues = (uint32_t)parameters[O_QUEUES],
      .fragments = parameters[O_FRAGMENTS] != 0,
      .timestamp_function = parameters[O_TIMESTAMP_FUNCTION],
      .attach_flags = parameters[O_NATIVE] != 0 ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE,
  };
  if (options.queues < 1 || options.queues > QUEUES_MAX || (length - A_IPV6) % 16 != 0 ||
      (length - A_IPV6) / 16 > IPV6_ADDRESSES_MAX)
    return status_value(env, -EINVAL);
  memcpy(options.mac, addresses + A_MAC, sizeof options.mac);
  memcpy(options.ipv4, addresses + A_IPV4, sizeof options.ipv4);
  memcpy(options.ipv6, addresses + A_IPV6, length - A_IPV6);
  options.ipv6_count = (uint32_t)((length - A_IPV6) / 16);

  int id = free_slot((void ***)&module->programs, &module->programs_size);
  if (id < 0) return status_value(env, id);
  struct program *program = calloc(1, sizeof *program);
  if (program == NULL) return status_value(env, -ENOMEM);
  enum program_stage stage;
  int status = program_open(program, &options, &stage);
  parameters[O_STAGE] = (int32_t)stage;
  if (status < 0) {
    free(program);
    return status_value(env, status);
  }
  module->programs[id] = program;
  return status_value(env, id);
}

/* setSocket(program, queue, socket) */
static napi_value js_set_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct program *program = find_program(env, module, arguments[0]);
  struct xsk *xsk = find_socket(env, module, arguments[2]);
  uint32_t queue;
  if (program == NULL || xsk == NULL) return status_value(env, -EBADF);
  if (napi_get_value_uint32(env, arguments[1], &queue) != napi_ok) return status_value(env, -EINVAL);
  return status_value(env, program_set_socket(program, queue, xsk->fd));
}

static napi_value js_close_program(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct module *module = get_arguments(env, info, arguments);
  struct program *program = find_program(env, module, arguments[0]);
  if (program == NULL) return status_value(env, -EBADF);
  for (uint32_t id = 0; id < module->programs_size; id++) {
    if (module->programs[id] == program) module->programs[id] = NULL;
  }
  program_close(program);
  free(program);
  return status_value(env, 0);
}

static napi_value js_probe(napi_env env, napi_callback_info info) {
  (void)info;
  return status_value(env, program_probe());
}

const struct entry_point program_entry_points[] = {
    {"interface", js_interface},        {"probe", js_probe}, {"openProgram", js_open_program}, {"setSocket", js_set_socket},
    {"closeProgram", js_close_program}, {NULL, NULL},
};
