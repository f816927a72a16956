/* CRC32C (Castagnoli; RFC 3720 appendix B.4). */
#ifndef PMEM_CRC32C_H
#define PMEM_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `seed`, the CRC of what came before (0 at the start), over `bytes` bytes. */
uint32_t crc32c(uint32_t seed, const void *data, size_t bytes);
/* The same by tables alone, whatever the processor has: what the tests compare the fast path with. */
uint32_t crc32c_portable(uint32_t seed, const void *data, size_t bytes);
/* Picks the implementation and builds the tables; before any other call, once per process. */
void crc32c_init(void);
/* "sse4.2", "arm" or "portable". */
const char *crc32c_name(void);

#endif
