/*
 * Internet sum (RFC 1071): one's-complement sum of big-endian 16-bit words, folded, not complemented.
 *
 * The sum of byte-swapped words is the byte-swapped sum (RFC 1071 2.B), so words are added in the machine's own
 * order, many at a time, and only the result is swapped. 64-bit lanes take 32-bit halves: no carry is lost before 2^32
 * of them.
 */
#include <string.h>

#include "tap.h"

/* Vectors of the compiler; where the processor has AVX2, the loop over them is compiled for it, too. */
typedef uint64_t lanes __attribute__((vector_size(32)));

#if defined(__x86_64__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#define WIDEST __attribute__((target_clones("avx2", "default")))
#endif
#endif
#ifndef WIDEST
#define WIDEST
#endif

#define STEP_BYTES (4 * sizeof(lanes))

/* Sum of `steps` steps of STEP_BYTES. Four sums of their own, so that no addition waits for the one before. */
WIDEST static uint64_t sum_steps(const uint8_t *bytes, size_t steps) {
  const lanes low = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
  lanes a = {0}, b = {0}, c = {0}, d = {0};
  for (; steps > 0; bytes += STEP_BYTES, steps--) {
    lanes w, x, y, z;
    memcpy(&w, bytes, sizeof w);
    memcpy(&x, bytes + sizeof w, sizeof x);
    memcpy(&y, bytes + 2 * sizeof w, sizeof y);
    memcpy(&z, bytes + 3 * sizeof w, sizeof z);
    a += (w & low) + (w >> 32);
    b += (x & low) + (x >> 32);
    c += (y & low) + (y >> 32);
    d += (z & low) + (z >> 32);
  }
  lanes all = a + b + c + d;
  return all[0] + all[1] + all[2] + all[3];
}

uint32_t inet_sum(const uint8_t *bytes, size_t length) {
  uint64_t sum = sum_steps(bytes, length / STEP_BYTES);
  bytes += length - length % STEP_BYTES;
  length %= STEP_BYTES;
  for (; length >= 4; bytes += 4, length -= 4) {
    uint32_t word;
    memcpy(&word, bytes, 4);
    sum += word;
  }
  if (length >= 2) {
    uint16_t word;
    memcpy(&word, bytes, 2);
    sum += word;
    bytes += 2;
    length -= 2;
  }
  if (length > 0) {
    uint8_t last[2] = {bytes[0], 0}; /* padded with zero on the right (RFC 1071 1.) */
    uint16_t word;
    memcpy(&word, last, 2);
    sum += word;
  }
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  sum = (sum & 0xff) << 8 | sum >> 8;
#endif
  return (uint32_t)sum;
}
