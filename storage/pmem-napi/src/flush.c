/*
 * Cache write-back by the processor: clwb, clflushopt or clflush with sfence on x86-64; dc cvap or dc cvac with
 * dsb on aarch64.
 *
 * clwb and clflushopt are ordered only by sfence; clflush is ordered with stores by itself and the fence then
 * costs nothing more. Instructions are written as inline assembly: no -m flags, so one binary runs on all.
 */
#include "flush.h"

#include <string.h>
#include <time.h>

#include "layout.h"

static const char *const names[] = {
    [FLUSH_NONE] = "none",           [FLUSH_CLFLUSH] = "clflush", [FLUSH_CLFLUSHOPT] = "clflushopt",
    [FLUSH_CLWB] = "clwb",           [FLUSH_DC_CVAC] = "dc cvac", [FLUSH_DC_CVAP] = "dc cvap",
};

const char *flush_name(enum flush_kind kind) { return names[kind]; }

enum flush_kind flush_by_name(const char *name) {
  for (int kind = FLUSH_CLFLUSH; kind <= FLUSH_DC_CVAP; kind++)
    if (strcmp(names[kind], name) == 0) return (enum flush_kind)kind;
  return FLUSH_NONE;
}

#if defined(__x86_64__)

#include <cpuid.h>

/* Intel SDM vol. 2A, CPUID: leaf 1 EDX 19 = CLFSH; leaf 7 EBX 23 = CLFLUSHOPT, 24 = CLWB. */
#define CPUID_1_EDX_CLFSH (1u << 19)
#define CPUID_7_EBX_CLFLUSHOPT (1u << 23)
#define CPUID_7_EBX_CLWB (1u << 24)

bool flush_supported(enum flush_kind kind) {
  unsigned a, b, c, d;
  if (kind == FLUSH_CLFLUSH) return __get_cpuid(1, &a, &b, &c, &d) && (d & CPUID_1_EDX_CLFSH);
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if (kind == FLUSH_CLFLUSHOPT) return b & CPUID_7_EBX_CLFLUSHOPT;
  if (kind == FLUSH_CLWB) return b & CPUID_7_EBX_CLWB;
  return false;
}

enum flush_kind flush_best(void) {
  if (flush_supported(FLUSH_CLWB)) return FLUSH_CLWB;
  if (flush_supported(FLUSH_CLFLUSHOPT)) return FLUSH_CLFLUSHOPT;
  if (flush_supported(FLUSH_CLFLUSH)) return FLUSH_CLFLUSH;
  return FLUSH_NONE;
}

static inline void flush_line(enum flush_kind kind, volatile char *at) {
  if (kind == FLUSH_CLWB)
    __asm__ volatile("clwb %0" : "+m"(*at));
  else if (kind == FLUSH_CLFLUSHOPT)
    __asm__ volatile("clflushopt %0" : "+m"(*at));
  else
    __asm__ volatile("clflush %0" : "+m"(*at));
}

void flush_fence(void) { __asm__ volatile("sfence" ::: "memory"); }

#elif defined(__aarch64__)

#include <asm/hwcap.h>
#include <sys/auxv.h>

bool flush_supported(enum flush_kind kind) {
  if (kind == FLUSH_DC_CVAP) return getauxval(AT_HWCAP) & HWCAP_DCPOP;
  return kind == FLUSH_DC_CVAC; /* Linux sets SCTLR_EL1.UCI: user code may clean to the point of coherency */
}

enum flush_kind flush_best(void) { return flush_supported(FLUSH_DC_CVAP) ? FLUSH_DC_CVAP : FLUSH_DC_CVAC; }

static inline void flush_line(enum flush_kind kind, volatile char *at) {
  if (kind == FLUSH_DC_CVAP)
    __asm__ volatile("sys #3, c7, c12, #1, %0" ::"r"(at) : "memory"); /* dc cvap, for assemblers before ARMv8.2 */
  else
    __asm__ volatile("dc cvac, %0" ::"r"(at) : "memory");
}

/* A cache clean by address completes at a DSB (Arm ARM, D7.5.8); DMB would only order it. */
void flush_fence(void) { __asm__ volatile("dsb sy" ::: "memory"); }

#else

bool flush_supported(enum flush_kind kind) {
  (void)kind;
  return false;
}

enum flush_kind flush_best(void) { return FLUSH_NONE; }

static inline void flush_line(enum flush_kind kind, volatile char *at) {
  (void)kind;
  (void)at;
}

void flush_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif

/* The format's line size is the step: no supported processor has smaller cache lines, and larger ones are flushed whole. */
uint32_t flush_range(enum flush_kind kind, const void *start, size_t bytes) {
  if (bytes == 0) return 0;
  uintptr_t at = (uintptr_t)start & ~(uintptr_t)(LINE_BYTES - 1);
  uintptr_t end = (uintptr_t)start + bytes;
  uint32_t lines = 0;
  for (; at < end; at += LINE_BYTES) {
    flush_line(kind, (volatile char *)at);
    lines++;
  }
  return lines;
}

static uint64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void flush_wait(uint64_t nanoseconds) {
  uint64_t start = monotonic_ns();
  while (monotonic_ns() - start < nanoseconds) {
  }
}
