/*
 * What JavaScript's entry points share (socket-binding.c, program-binding.c): arguments in, status out.
 *
 * An open socket or program is named by a small integer, checked against the table of this environment at each call: no
 * argument, however wrong, reaches memory that is neither.
 *
 * Every entry point returns 0, an id or a count, or -errno (-EINVAL for arguments of the wrong type or range).
 */
#ifndef XDP_NAPI_BINDING_H
#define XDP_NAPI_BINDING_H

#include "xdp.h"

enum { ARGUMENTS_MAX = 4 };

napi_value status_value(napi_env env, int status);

/* Missing arguments become undefined, which no getter below accepts. */
struct module *get_arguments(napi_env env, napi_callback_info info, napi_value arguments[ARGUMENTS_MAX]);

/* The socket, or program, that an argument names, or NULL. */
struct xsk *find_socket(napi_env env, struct module *module, napi_value value);
struct program *find_program(napi_env env, struct module *module, napi_value value);

/* False for anything but a string that fits whole and holds no NUL. */
bool get_text(napi_env env, napi_value value, char *text, size_t size);

/* Elements of a typed array of the given type with at least `least` of them; NULL otherwise. */
void *get_elements(napi_env env, napi_value value, napi_typedarray_type type, size_t least, size_t *length);

/* A place in a table of pointers, which grows; -errno if there is none. */
int free_slot(void ***table, uint32_t *size);

/* socket-binding.c: the socket leaves the table; libuv calls module_socket_closed when its memory is free. */
void close_socket(struct module *module, uint32_t id);

/* Names and functions, ended by NULL. */
struct entry_point {
  const char *name;
  napi_callback function;
};
extern const struct entry_point socket_entry_points[], program_entry_points[];

#endif
