/*
 * Internet sum (RFC 1071): one's-complement sum of big-endian 16-bit words, folded, not complemented.
 *
 * The sum of byte-swapped words is the byte-swapped sum (RFC 1071 2.B), so words are added in the machine's own
 * order, many at a time, and only the result is swapped.
 */
#include <string.h>

#include "tap.h"

uint32_t inet_sum(const uint8_t *bytes, size_t length) {
  /* 32-bit words into 64-bit lanes: no carry is lost below 2^32 words. Four lanes let the compiler use vectors. */
  uint64_t lane[4] = {0, 0, 0, 0};
  for (; length >= 16; bytes += 16, length -= 16) {
    uint32_t word[4];
    memcpy(word, bytes, 16);
    lane[0] += word[0];
    lane[1] += word[1];
    lane[2] += word[2];
    lane[3] += word[3];
  }
  uint64_t sum = lane[0] + lane[1] + lane[2] + lane[3];
  for (; length >= 2; bytes += 2, length -= 2) {
    uint16_t word;
    memcpy(&word, bytes, 2);
    sum += word;
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
