/* Binding that gives the kernel advice about memory of JavaScript's own. */
#include <sys/mman.h>
#include <unistd.h>

#include "arguments.h"

/* adviseHugePages(arrayBuffer) -> whether the kernel took the advice */
static napi_value advise_huge_pages(napi_env env, napi_callback_info info) {
  napi_value value;
  struct environment *environment;
  void *data;
  size_t bytes;
  if (!arguments_get(env, info, 1, &value, &environment)) return NULL;
  if (napi_get_arraybuffer_info(env, value, &data, &bytes) != napi_ok) return throw_invalid(env, "an ArrayBuffer is needed");
  /* Whole pages only: what lies around them belongs to somebody else. */
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t start = ((uintptr_t)data + page - 1) & ~(page - 1);
  uintptr_t end = ((uintptr_t)data + bytes) & ~(page - 1);
  return make_bool(env, start < end && madvise((void *)start, end - start, MADV_HUGEPAGE) == 0);
}

const struct export memory_exports[] = {{"adviseHugePages", advise_huge_pages}, {NULL, NULL}};
