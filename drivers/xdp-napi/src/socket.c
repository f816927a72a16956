/*
 * One AF_XDP socket: rings made and mapped, bound to a queue of an interface, kicked.
 *
 * The layout of each ring in its map comes from the kernel (XDP_MMAP_OFFSETS) and goes to JavaScript as byte offsets.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xdp.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif

static const struct {
  int option;
  uint64_t page_offset;
  size_t descriptor_bytes;
} ring_kinds[RINGS] = {
    [RING_FILL] = {XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING, sizeof(uint64_t)},
    [RING_COMPLETION] = {XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(uint64_t)},
    [RING_RX] = {XDP_RX_RING, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc)},
    [RING_TX] = {XDP_TX_RING, XDP_PGOFF_TX_RING, sizeof(struct xdp_desc)},
};

static int make_rings(int fd, const uint32_t entries[RINGS]) {
  for (int kind = 0; kind < RINGS; kind++) {
    if (setsockopt(fd, SOL_XDP, ring_kinds[kind].option, &entries[kind], sizeof entries[kind]) < 0) return -errno;
  }
  return 0;
}

static int map_rings(struct xsk *xsk, int fd, const uint32_t entries[RINGS]) {
  struct xdp_mmap_offsets offsets;
  socklen_t bytes = sizeof offsets;
  if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &bytes) < 0) return -errno;
  if (bytes != sizeof offsets) return -ENOTSUP; /* a kernel before 5.4, without flags */
  const struct xdp_ring_offset *of[RINGS] = {
      [RING_FILL] = &offsets.fr, [RING_COMPLETION] = &offsets.cr, [RING_RX] = &offsets.rx, [RING_TX] = &offsets.tx};
  for (int kind = 0; kind < RINGS; kind++) {
    struct ring *ring = &xsk->rings[kind];
    size_t size = of[kind]->desc + entries[kind] * ring_kinds[kind].descriptor_bytes;
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                     (off_t)ring_kinds[kind].page_offset);
    if (map == MAP_FAILED) return -errno;
    *ring = (struct ring){
        .map = map,
        .map_bytes = size,
        .producer = (uint32_t)of[kind]->producer,
        .consumer = (uint32_t)of[kind]->consumer,
        .flags = (uint32_t)of[kind]->flags,
        .descriptors = (uint32_t)of[kind]->desc,
        .entries = entries[kind],
    };
  }
  return 0;
}

/* Options that make it faster where the kernel knows them, and change nothing where it does not. */
static void tune(int fd, const struct socket_options *options) {
  int budget = (int)options->entries[RING_TX];
  (void)setsockopt(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof budget);
  if (options->busy_poll_us == 0) return;
  int on = 1, busy_budget = 64;
  (void)setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof on);
  (void)setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &options->busy_poll_us, sizeof options->busy_poll_us);
  (void)setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &busy_budget, sizeof busy_budget);
}

static int bind_socket(int fd, const struct socket_options *options) {
  struct sockaddr_xdp address = {
      .sxdp_family = AF_XDP,
      .sxdp_ifindex = options->ifindex,
      .sxdp_queue_id = options->queue,
  };
  if (options->share_fd >= 0) { /* mode and wake-up are those of the socket that registered the UMEM */
    address.sxdp_flags = XDP_SHARED_UMEM;
    address.sxdp_shared_umem_fd = (uint32_t)options->share_fd;
  } else {
    address.sxdp_flags = XDP_USE_NEED_WAKEUP | options->bind_flags;
  }
  return bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}

int socket_open(struct xsk *xsk, const struct socket_options *options, const struct umem *umem, enum stage *stage) {
  *stage = STAGE_SOCKET;
  int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int status = 0;
  if (options->share_fd < 0) {
    *stage = STAGE_UMEM;
    status = umem_register(fd, umem, options->headroom);
  }
  if (status == 0) {
    *stage = STAGE_RINGS;
    status = make_rings(fd, options->entries);
  }
  if (status == 0) {
    *stage = STAGE_MAP;
    status = map_rings(xsk, fd, options->entries);
  }
  if (status == 0) {
    *stage = STAGE_BIND;
    tune(fd, options);
    status = bind_socket(fd, options);
  }
  if (status < 0) {
    socket_unmap(xsk);
    close(fd);
    return status;
  }
  xsk->fd = fd;
  return 0;
}

void socket_unmap(struct xsk *xsk) {
  for (int kind = 0; kind < RINGS; kind++) {
    struct ring *ring = &xsk->rings[kind];
    if (ring->map != NULL) munmap(ring->map, ring->map_bytes);
    ring->map = NULL;
  }
}

int socket_is_zero_copy(int fd) {
  struct xdp_options options;
  socklen_t bytes = sizeof options;
  if (getsockopt(fd, SOL_XDP, XDP_OPTIONS, &options, &bytes) < 0) return -errno;
  return (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
}

/*
 * In copy mode a kick sends a bounded number of frames and says EAGAIN if some are left; so it is repeated, but not
 * without end. ENOBUFS and EBUSY: the interface's queue is full; the frames stay in the ring until the next kick.
 */
int socket_kick(int fd) {
  for (int round = 0; round < 64; round++) {
    if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0) return 0;
    if (errno == ENOBUFS || errno == EBUSY) return 0;
    if (errno != EAGAIN && errno != EINTR) return -errno;
  }
  return 0;
}

int socket_wake(int fd) {
  if (recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL) >= 0) return 0;
  return errno == EAGAIN || errno == EBUSY || errno == EINTR || errno == ENOBUFS ? 0 : -errno;
}

int socket_statistics(int fd, uint64_t statistics[STATISTICS]) {
  struct xdp_statistics values = {0};
  socklen_t bytes = sizeof values;
  if (getsockopt(fd, SOL_XDP, XDP_STATISTICS, &values, &bytes) < 0) return -errno;
  statistics[0] = values.rx_dropped;
  statistics[1] = values.rx_invalid_descs;
  statistics[2] = values.tx_invalid_descs;
  statistics[3] = values.rx_ring_full;
  statistics[4] = values.rx_fill_ring_empty_descs;
  statistics[5] = values.tx_ring_empty_descs;
  return 0;
}
