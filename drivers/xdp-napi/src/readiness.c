/*
 * "A frame can be received", once for each time it is armed: uv_poll on the socket's descriptor. Between two waits
 * the descriptor is out of the event loop's set, so a busy-polling caller pays nothing for it.
 *
 * Order of closing: the poll handle leaves the loop (uv_close) before its descriptor is closed, and the memory of the
 * handle, which is the socket's, is freed only in libuv's close callback.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "xdp.h"

int readiness_open(struct xsk *xsk, napi_value on_readable) {
  napi_env env = xsk->module->env;
  napi_value name;
  if (napi_create_string_utf8(env, "xdp-napi", NAPI_AUTO_LENGTH, &name) != napi_ok) return -ENOMEM;
  if (napi_async_init(env, NULL, name, &xsk->async) != napi_ok) return -ENOMEM;
  int status = -ENOMEM;
  if (napi_create_reference(env, on_readable, 1, &xsk->on_readable) == napi_ok) {
    status = uv_poll_init(xsk->module->loop, &xsk->poll, xsk->fd); /* libuv's status is -errno on Unix */
    if (status == 0) {
      xsk->poll.data = xsk;
      return 0;
    }
    napi_delete_reference(env, xsk->on_readable);
  }
  napi_async_destroy(env, xsk->async);
  return status;
}

/* An error (the interface went down) is readiness too: the statistics and the next kick name it. */
static void on_event(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  struct xsk *xsk = poll->data;
  napi_env env = xsk->module->env;
  uv_poll_stop(poll);
  xsk->armed = false;

  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback, receiver;
  if (napi_get_reference_value(env, xsk->on_readable, &callback) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok &&
      napi_make_callback(env, xsk->async, receiver, callback, 0, NULL, NULL) == napi_pending_exception) {
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

int readiness_arm(struct xsk *xsk) {
  if (xsk->armed) return 0;
  int status = uv_poll_start(&xsk->poll, UV_READABLE, on_event);
  xsk->armed = status == 0;
  return status;
}

static void on_closed(uv_handle_t *handle) {
  struct xsk *xsk = handle->data;
  struct module *module = xsk->module;
  free(xsk);
  module_socket_closed(module);
}

void readiness_close(struct xsk *xsk) {
  napi_env env = xsk->module->env;
  napi_delete_reference(env, xsk->on_readable);
  napi_async_destroy(env, xsk->async);
  uv_close((uv_handle_t *)&xsk->poll, on_closed);
  close(xsk->fd);
}
