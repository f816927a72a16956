/*
 * CRC32C: hardware where there is some, slice-by-8 tables elsewhere, chosen at run time.
 *
 * The crc32 instruction has a latency of 3 cycles and a throughput of 1, so x86 runs three streams over thirds
 * of the data and joins them:
 *
 *   [ a: n words ][ b: n words ][ c: n words ]      state(abc) = a · x^(128n) + b · x^(64n) + c   mod P
 *
 * The products need no reduction of their own: they are XORed into the last word of c, whose crc32 step
 * multiplies by x^32 and reduces. Hence the constants x^(64n - 32) mod P; a carry-less product of bit-reflected
 * factors comes out one bit low, hence x^(64n - 33).
 */
#include "crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL_REFLECTED 0x82f63b78u
#define X_POWER_31 1u /* x^31, bit-reflected */

static uint32_t tables[8][256];

/* v · x mod P, bit-reflected. */
static uint32_t times_x(uint32_t v) { return (v >> 1) ^ (v & 1 ? POLYNOMIAL_REFLECTED : 0); }

static inline uint64_t load64(const uint8_t *at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

static void build_tables(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t v = byte;
    for (int bit = 0; bit < 8; bit++) v = times_x(v);
    tables[0][byte] = v;
  }
  for (int slice = 1; slice < 8; slice++)
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t v = tables[slice - 1][byte];
      tables[slice][byte] = (v >> 8) ^ tables[0][v & 0xff];
    }
}

uint32_t crc32c_portable(uint32_t seed, const void *data, size_t bytes) {
  const uint8_t *at = data;
  uint32_t state = ~seed;
  for (; bytes >= 8; bytes -= 8, at += 8) {
    uint64_t word = load64(at) ^ state;
    state = tables[7][word & 0xff] ^ tables[6][(word >> 8) & 0xff] ^ tables[5][(word >> 16) & 0xff] ^
            tables[4][(word >> 24) & 0xff] ^ tables[3][(word >> 32) & 0xff] ^ tables[2][(word >> 40) & 0xff] ^
            tables[1][(word >> 48) & 0xff] ^ tables[0][word >> 56];
  }
  for (; bytes > 0; bytes--) state = (state >> 8) ^ tables[0][(state ^ *at++) & 0xff];
  return ~state;
}

static uint32_t (*implementation)(uint32_t, const void *, size_t) = crc32c_portable;
static const char *implementation_name = "portable";

uint32_t crc32c(uint32_t seed, const void *data, size_t bytes) { return implementation(seed, data, bytes); }

const char *crc32c_name(void) { return implementation_name; }

#if defined(__x86_64__)

#include <cpuid.h>
#include <nmmintrin.h>
#include <wmmintrin.h>

/* Words of one stream in one round: 3 KiB a round, more than any view. */
#define STREAM_WORDS_MAX 128
/* Below this the joining costs more than the latency it hides. */
#define THREE_STREAMS_BYTES_MIN 192

/* shift[n] = x^(64n - 33) mod P, n from 1. */
static uint32_t shift[2 * STREAM_WORDS_MAX + 1];

static void build_shifts(void) {
  uint32_t v = X_POWER_31;
  for (int n = 1; n <= 2 * STREAM_WORDS_MAX; n++) {
    shift[n] = v;
    for (int bit = 0; bit < 64; bit++) v = times_x(v);
  }
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t shifted(uint64_t state, uint32_t words) {
  __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)state), _mm_cvtsi32_si128((int)shift[words]), 0);
  return (uint64_t)_mm_cvtsi128_si64(product);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_sse42(uint32_t seed, const void *data, size_t bytes) {
  const uint8_t *at = data;
  uint64_t a = (uint32_t)~seed;
  while (bytes >= THREE_STREAMS_BYTES_MIN) {
    size_t words = bytes / 24;
    if (words > STREAM_WORDS_MAX) words = STREAM_WORDS_MAX;
    const uint8_t *second = at + words * 8;
    const uint8_t *third = second + words * 8;
    uint64_t b = 0;
    uint64_t c = 0;
    size_t last = (words - 1) * 8;
    for (size_t i = 0; i < last; i += 8) {
      a = _mm_crc32_u64(a, load64(at + i));
      b = _mm_crc32_u64(b, load64(second + i));
      c = _mm_crc32_u64(c, load64(third + i));
    }
    a = _mm_crc32_u64(a, load64(at + last));
    b = _mm_crc32_u64(b, load64(second + last));
    a = _mm_crc32_u64(c, load64(third + last) ^ shifted(a, (uint32_t)(2 * words)) ^ shifted(b, (uint32_t)words));
    at += words * 24;
    bytes -= words * 24;
  }
  for (; bytes >= 8; bytes -= 8, at += 8) a = _mm_crc32_u64(a, load64(at));
  uint32_t state = (uint32_t)a;
  if (bytes >= 4) { /* a metadata line covers 52 bytes */
    uint32_t word;
    memcpy(&word, at, sizeof word);
    state = _mm_crc32_u32(state, word);
    at += 4;
    bytes -= 4;
  }
  for (; bytes > 0; bytes--) state = _mm_crc32_u8(state, *at++);
  return ~state;
}

/* Intel SDM vol. 2A, CPUID: leaf 1 ECX 1 = PCLMULQDQ, 20 = SSE4.2. */
#define CPUID_1_ECX_NEEDED ((1u << 1) | (1u << 20))

static void choose(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & CPUID_1_ECX_NEEDED) != CPUID_1_ECX_NEEDED) return;
  build_shifts();
  implementation = crc32c_sse42;
  implementation_name = "sse4.2";
}

#elif defined(__aarch64__)

#include <asm/hwcap.h>
#include <sys/auxv.h>

/* Assembly, not <arm_acle.h>: the header hides its functions unless the whole file is compiled for +crc. */
static uint32_t crc32c_arm(uint32_t seed, const void *data, size_t bytes) {
  const uint8_t *at = data;
  uint32_t state = ~seed;
  for (; bytes >= 8; bytes -= 8, at += 8)
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(state) : "r"(load64(at)));
  for (; bytes > 0; bytes--) {
    uint32_t byte = *at++;
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(state) : "r"(byte));
  }
  return ~state;
}

static void choose(void) {
  if (!(getauxval(AT_HWCAP) & HWCAP_CRC32)) return;
  implementation = crc32c_arm;
  implementation_name = "arm";
}

#else

static void choose(void) {}

#endif

static void init_once(void) {
  build_tables();
  choose();
}

void crc32c_init(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_once);
}
