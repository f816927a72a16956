/* JavaScript's entry points for the interface and its configuration: interface.c, steering.c. */
#include <arpa/inet.h>
#include <errno.h>

#include "binding.h"

static napi_value text_or_status(napi_env env, int status, const char *text) {
  napi_value result;
  if (status < 0) return status_value(env, status);
  return napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result) == napi_ok ? result : NULL;
}

static napi_value js_probe(napi_env env, napi_callback_info info) {
  (void)info;
  return status_value(env, interface_probe());
}

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
  if (tap == NULL) return status_value(env, -EBADF);
  if (napi_get_value_bool(env, arguments[1], &persistent) != napi_ok) return status_value(env, -EINVAL);
  return status_value(env, interface_set_persistent(tap->fd, persistent));
}

/* getMac(id, Uint8Array(6)) */
static napi_value js_get_mac(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t length;
  if (tap == NULL) return status_value(env, -EBADF);
  uint8_t *mac = get_elements(env, arguments[1], napi_uint8_array, &length);
  return status_value(env, mac == NULL || length != 6 ? -EINVAL : interface_get_mac(tap->fd, mac));
}

static napi_value js_set_mac(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  size_t length;
  if (tap == NULL) return status_value(env, -EBADF);
  const uint8_t *mac = get_elements(env, arguments[1], napi_uint8_array, &length);
  return status_value(env, mac == NULL || length != 6 ? -EINVAL : interface_set_mac(tap->fd, mac));
}

/* A number of the interface: get(id), set(id, number). */
static napi_value get_number(napi_env env, napi_callback_info info, int (*get)(int fd)) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  return status_value(env, tap == NULL ? -EBADF : get(tap->fd));
}

static napi_value set_number(napi_env env, napi_callback_info info, int (*set)(int fd, uint32_t number)) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  uint32_t number;
  if (tap == NULL) return status_value(env, -EBADF);
  return status_value(env, get_u32(env, arguments[1], &number) ? set(tap->fd, number) : -EINVAL);
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
  if (tap == NULL) return status_value(env, -EBADF);
  return status_value(env, napi_get_value_bool(env, arguments[1], &up) == napi_ok ? interface_set_up(tap->fd, up) : -EINVAL);
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
  if (tap == NULL) return status_value(env, -EBADF);
  int family = get_family(env, arguments[1]);
  return text_or_status(env, family == 0 ? -EINVAL : interface_get_address(tap->fd, family, text), text);
}

/* setAddress(id, 4 | 6, address, prefix) */
static napi_value js_set_address(napi_env env, napi_callback_info info) {
  napi_value arguments[ARGUMENTS_MAX];
  struct tap *tap = get_tap(env, info, arguments);
  char address[INET6_ADDRSTRLEN];
  uint32_t prefix;
  if (tap == NULL) return status_value(env, -EBADF);
  int family = get_family(env, arguments[1]);
  if (family == 0 || !get_text(env, arguments[2], address, sizeof address) || !get_u32(env, arguments[3], &prefix)) {
    return status_value(env, -EINVAL);
  }
  return status_value(env, interface_set_address(tap->fd, family, address, prefix));
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
  if (tap == NULL) return status_value(env, -EBADF);
  return status_value(env, get_text(env, arguments[1], text, sizeof text) ? steering_set(tap->fd, text) : -EINVAL);
}

const struct entry_point interface_entry_points[] = {
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
    {NULL, NULL},
};
