/*
 * What JavaScript's entry points share (tap-binding.c, interface-binding.c): arguments in, status out.
 *
 * An open TAP is named by a small integer, checked against the table of this environment at each call: no argument,
 * however wrong, reaches memory that is not a TAP.
 *
 * Every entry point returns 0, an id, a count or text, or -errno (-EINVAL for arguments of the wrong type or range).
 */
#ifndef TUNTAP2_BINDING_H
#define TUNTAP2_BINDING_H

#include "tap.h"

enum { ARGUMENTS_MAX = 6 };

napi_value status_value(napi_env env, int status);

/* Missing arguments become undefined, which no getter below accepts. */
struct module *get_arguments(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]);

/* The TAP that the first argument names, or NULL. */
struct tap *get_tap(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]);

/* False for anything but an integer of 32 bits. */
bool get_u32(napi_env env, napi_value value, uint32_t *number);

/* False for anything but a string that fits whole and holds no NUL. */
bool get_text(napi_env env, napi_value value, char *text, size_t size);

/* Elements of a typed array of the given type; NULL otherwise, and for one whose memory is gone. */
void *get_elements(napi_env env, napi_value value, napi_typedarray_type type, size_t *length);

/* tap-binding.c: the TAP leaves the table; libuv calls module_tap_closed when its memory is free. */
void close_tap(struct module *module, uint32_t id);

/* Names and functions, ended by NULL. */
struct entry_point {
  const char *name;
  napi_callback function;
};
extern const struct entry_point tap_entry_points[], interface_entry_points[];

#endif
