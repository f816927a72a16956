/*
 * The Internet sum, 64 bytes a step. RFC 1071 (2.B): the sum may be taken in either byte order, over words of
 * any width, and folded and swapped once at the end. Each 64-bit lane adds 32-bit halves, so no carry is lost
 * before 2^32 of them (16 GiB of data a call).
 */
#include "inet-sum.h"

#include <string.h>

/* GCC vector extension: SSE2 on x86-64, NEON on aarch64, scalar code elsewhere. */
typedef uint64_t lanes __attribute__((vector_size(16)));

static inline lanes load_lanes(const uint8_t *at) {
  lanes word;
  memcpy(&word, at, sizeof word);
  return word;
}

uint32_t inet_sum(const void *data, size_t bytes) {
  const uint8_t *at = data;
  const lanes low = {0xffffffffu, 0xffffffffu};
  lanes a = {0, 0}, b = {0, 0}, c = {0, 0}, d = {0, 0};
  for (; bytes >= 64; bytes -= 64, at += 64) {
    lanes w0 = load_lanes(at), w1 = load_lanes(at + 16), w2 = load_lanes(at + 32), w3 = load_lanes(at + 48);
    a += (w0 & low) + (w0 >> 32);
    b += (w1 & low) + (w1 >> 32);
    c += (w2 & low) + (w2 >> 32);
    d += (w3 & low) + (w3 >> 32);
  }
  for (; bytes >= 16; bytes -= 16, at += 16) {
    lanes w = load_lanes(at);
    a += (w & low) + (w >> 32);
  }
  a += b + c + d;
  uint64_t sum = a[0] + a[1];
  for (; bytes >= 2; bytes -= 2, at += 2) {
    uint16_t word;
    memcpy(&word, at, sizeof word);
    sum += word;
  }
  if (bytes) sum += *at;
  sum = (sum & 0xffffffffu) + (sum >> 32);
  sum = (sum & 0xffffffffu) + (sum >> 32);
  sum = (sum & 0xffffu) + (sum >> 16);
  sum = (sum & 0xffffu) + (sum >> 16);
  return __builtin_bswap16((uint16_t)sum);
}
