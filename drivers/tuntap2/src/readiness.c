/*
 * "A frame can be received", once for each time it is armed: uv_poll on the TAP's descriptor. Between two waits the
 * descriptor is out of the event loop's set, so a busy-polling caller pays nothing for it.
 *
 * Order of closing: the poll handle leaves the loop (uv_close) before its descriptor is closed, and the memory of
 * the handle, which is the tap, is freed only in libuv's close callback.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tap.h"

int readiness_open(struct tap *tap, napi_value on_readable) {
  napi_env env = tap->module->env;
  napi_value name;
  if (napi_create_string_utf8(env, "tuntap2", NAPI_AUTO_LENGTH, &name) != napi_ok) return -ENOMEM;
  if (napi_async_init(env, NULL, name, &tap->async) != napi_ok) return -ENOMEM;
  int status = -ENOMEM;
  if (napi_create_reference(env, on_readable, 1, &tap->on_readable) == napi_ok) {
    status = uv_poll_init(tap->module->loop, &tap->poll, tap->fd); /* libuv's status is -errno on Unix */
    if (status == 0) {
      tap->poll.data = tap;
      return 0;
    }
    napi_delete_reference(env, tap->on_readable);
  }
  napi_async_destroy(env, tap->async);
  return status;
}

/* An error (the interface was deleted) is readiness too: the next receive names it. */
static void on_event(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  struct tap *tap = poll->data;
  napi_env env = tap->module->env;
  uv_poll_stop(poll);
  tap->armed = false;

  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback, receiver;
  if (napi_get_reference_value(env, tap->on_readable, &callback) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok &&
      napi_make_callback(env, tap->async, receiver, callback, 0, NULL, NULL) == napi_pending_exception) {
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

int readiness_arm(struct tap *tap) {
  if (tap->armed) return 0;
  int status = uv_poll_start(&tap->poll, UV_READABLE, on_event);
  tap->armed = status == 0;
  return status;
}

static void on_closed(uv_handle_t *handle) {
  struct tap *tap = handle->data;
  struct module *module = tap->module;
  free(tap);
  module_tap_closed(module);
}

void readiness_close(struct tap *tap) {
  napi_env env = tap->module->env;
  napi_delete_reference(env, tap->on_readable);
  napi_async_destroy(env, tap->async);
  uv_close((uv_handle_t *)&tap->poll, on_closed);
  close(tap->fd);
}
