/*
 * The caller's memory as UMEM: the memory that the kernel, or the network card, reads and writes frames in.
 *
 *   mapping   [ header | extent 0: lines, buffers | extent 1 … ]
 *             0        offsets[0]                   offsets[1]        = addresses of descriptors
 *
 * The extents are ArrayBuffers over parts of one mapping. All of it is registered, header and lines included: the
 * kernel touches only the addresses that the rings name.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xdp.h"

static int get_extent(napi_env env, napi_value extents, napi_value offsets, uint32_t index, napi_value *extent,
                      uint8_t **data, size_t *bytes, uint64_t *offset) {
  napi_value value;
  int64_t number;
  void *start;
  if (napi_get_element(env, extents, index, extent) != napi_ok) return -EINVAL;
  if (napi_get_arraybuffer_info(env, *extent, &start, bytes) != napi_ok || start == NULL) return -EINVAL;
  if (napi_get_element(env, offsets, index, &value) != napi_ok) return -EINVAL;
  if (napi_get_value_int64(env, value, &number) != napi_ok || number < 0) return -EINVAL;
  *data = start;
  *offset = (uint64_t)number;
  return 0;
}

int umem_find(struct xsk *xsk, napi_value extents, napi_value offsets, struct umem *umem) {
  napi_env env = xsk->module->env;
  uint32_t count;
  if (napi_get_array_length(env, extents, &count) != napi_ok || count < 1 || count > EXTENTS_MAX) return -EINVAL;
  uint64_t end = 0;
  for (uint32_t index = 0; index < count; index++) {
    napi_value extent;
    uint8_t *data;
    size_t bytes;
    uint64_t offset;
    int status = get_extent(env, extents, offsets, index, &extent, &data, &bytes, &offset);
    if (status < 0) return status;
    if (index == 0) umem->base = data - offset;
    if (data != umem->base + offset || offset < end) return -EXDEV;
    end = offset + bytes;
    if (napi_create_reference(env, extent, 1, &xsk->memory[index]) != napi_ok) return -ENOMEM;
    xsk->extents = (uint16_t)(index + 1);
  }
  if ((uintptr_t)umem->base % (uintptr_t)sysconf(_SC_PAGESIZE) != 0) return -EXDEV;
  umem->bytes = end / CHUNK_BYTES * CHUNK_BYTES;
  return 0;
}

int umem_register(int fd, const struct umem *umem, uint32_t headroom) {
  struct xdp_umem_reg request = {
      .addr = (uint64_t)(uintptr_t)umem->base,
      .len = umem->bytes,
      .chunk_size = CHUNK_BYTES,
      .headroom = headroom,
  };
  return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &request, sizeof request) < 0 ? -errno : 0;
}
