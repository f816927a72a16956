/* The Internet checksum's sum (RFC 1071). */
#ifndef PMEM_INET_SUM_H
#define PMEM_INET_SUM_H

#include <stddef.h>
#include <stdint.h>

/* One's-complement sum of big-endian 16-bit words, folded to 16 bits, not complemented; an odd last byte is padded with zero. */
uint32_t inet_sum(const void *data, size_t bytes);

#endif
