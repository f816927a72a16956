/*
 * Bindings that work on bytes: checksums of arrays and of views, the sums of a receive burst, and the copy of a view.
 * Views are named by index; a bad index gives -1, never an exception, because these are called per packet.
 */
#include <string.h>

#include "arguments.h"
#include "crc32c.h"
#include "inet-sum.h"

/* drivers/device.ts */
#define ETHERNET_HEADER_BYTES 14u  /* the sum of a frame starts behind it */
#define RX_MORE (INT32_C(1) << 16) /* in the last word: the frame goes on in the next descriptor */
#define DESCRIPTOR_WORDS 4u

/* A range of a Uint8Array, or NULL with an exception. */
static const uint8_t *byte_range(napi_env env, const napi_value *values, uint64_t *length) {
  uint8_t *data;
  size_t available;
  uint64_t offset;
  if (!argument_bytes(env, values[0], &data, &available) || !argument_whole(env, values[1], &offset) ||
      !argument_whole(env, values[2], length) || offset > available || *length > available - offset) {
    throw_invalid(env, "bytes must be a Uint8Array that holds length bytes at offset");
    return NULL;
  }
  return *length == 0 ? (const uint8_t *)"" : data + offset;
}

/* crc32c(bytes, offset, length, seed) -> u32 */
static napi_value crc_bytes(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct environment *environment;
  uint64_t length;
  uint32_t seed;
  if (!arguments_get(env, info, 4, values, &environment)) return NULL;
  const uint8_t *data = byte_range(env, values, &length);
  if (!data) return NULL;
  if (!argument_u32(env, values[3], &seed)) return throw_invalid(env, "seed must be a u32");
  return make_number(env, crc32c(seed, data, length));
}

/* crc32cPortable(bytes, offset, length, seed) -> u32 */
static napi_value crc_bytes_portable(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct environment *environment;
  uint64_t length;
  uint32_t seed;
  if (!arguments_get(env, info, 4, values, &environment)) return NULL;
  const uint8_t *data = byte_range(env, values, &length);
  if (!data) return NULL;
  if (!argument_u32(env, values[3], &seed)) return throw_invalid(env, "seed must be a u32");
  return make_number(env, crc32c_portable(seed, data, length));
}

/* sumBytes(bytes, offset, length) -> u16 */
static napi_value sum_bytes(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct environment *environment;
  uint64_t length;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  const uint8_t *data = byte_range(env, values, &length);
  if (!data) return NULL;
  return make_i32(env, (int32_t)inet_sum(data, length));
}

/* Four arguments [handle, buffer, offset, length] to the bytes of a view, or NULL. */
static uint8_t *view_argument(napi_env env, napi_callback_info info, uint32_t *length) {
  napi_value values[4];
  struct environment *environment;
  uint32_t id, buffer, offset;
  if (!arguments_get(env, info, 4, values, &environment) || !argument_u32(env, values[0], &id) ||
      !argument_u32(env, values[1], &buffer) || !argument_u32(env, values[2], &offset) || !argument_u32(env, values[3], length))
    return NULL;
  const struct region *region = region_find(environment, id);
  return region ? region_view(region, buffer, offset, *length) : NULL;
}

/* sumView(handle, buffer, offset, length) -> u16, or -1 */
static napi_value sum_view(napi_env env, napi_callback_info info) {
  uint32_t length;
  const uint8_t *data = view_argument(env, info, &length);
  return make_i32(env, data ? (int32_t)inet_sum(data, length) : -1);
}

/* crcView(handle, buffer, offset, length) -> u32, or -1 */
static napi_value crc_view(napi_env env, napi_callback_info info) {
  uint32_t length;
  const uint8_t *data = view_argument(env, info, &length);
  return make_number(env, data ? (double)crc32c(0, data, length) : -1);
}

/* sumDescriptors(handle, descriptors, count) -> 0, or -1 with nothing written */
static napi_value sum_descriptors(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct environment *environment;
  uint32_t id, count;
  int32_t *words;
  size_t available;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  if (!argument_u32(env, values[0], &id) || !argument_words(env, values[1], &words, &available) ||
      !argument_u32(env, values[2], &count) || count > available / DESCRIPTOR_WORDS)
    return make_i32(env, -1);
  const struct region *region = region_find(environment, id);
  if (!region) return make_i32(env, -1);
  for (uint32_t i = 0; i < count; i++) {
    const int32_t *d = words + i * DESCRIPTOR_WORDS;
    if (!region_view(region, (uint32_t)d[0], (uint32_t)d[1], (uint32_t)d[2])) return make_i32(env, -1);
  }
  uint32_t skipped = ETHERNET_HEADER_BYTES;
  for (uint32_t i = 0; i < count; i++) {
    int32_t *d = words + i * DESCRIPTOR_WORDS;
    uint32_t length = (uint32_t)d[2];
    const uint8_t *frame = region_view(region, (uint32_t)d[0], (uint32_t)d[1], length);
    if (!frame) return make_i32(env, -1); /* shared memory that another thread changed meanwhile */
    int32_t more = d[3] & RX_MORE;
    d[3] = (length > skipped ? (int32_t)inet_sum(frame + skipped, length - skipped) : 0) | more;
    skipped = more != 0 ? 0 : ETHERNET_HEADER_BYTES;
  }
  return make_i32(env, 0);
}

/* copyView(handle, fromBuffer, fromOffset, toBuffer, toOffset, length) -> 0, or -1 */
static napi_value copy_view(napi_env env, napi_callback_info info) {
  napi_value values[6];
  struct environment *environment;
  uint32_t numbers[6];
  if (!arguments_get(env, info, 6, values, &environment)) return NULL;
  for (int i = 0; i < 6; i++)
    if (!argument_u32(env, values[i], numbers + i)) return make_i32(env, -1);
  const struct region *region = region_find(environment, numbers[0]);
  if (!region || !region_storable(region)) return make_i32(env, -1);
  uint32_t length = numbers[5];
  const uint8_t *from = region_view(region, numbers[1], numbers[2], length);
  uint8_t *to = region_view(region, numbers[3], numbers[4], length);
  if (!from || !to) return make_i32(env, -1);
  memmove(to, from, length);
  return make_i32(env, 0);
}

const struct export view_exports[] = {
    {"crc32c", crc_bytes}, {"crc32cPortable", crc_bytes_portable},
    {"sumBytes", sum_bytes}, {"sumView", sum_view},
    {"crcView", crc_view}, {"sumDescriptors", sum_descriptors},
    {"copyView", copy_view},
    {NULL, NULL},
};
