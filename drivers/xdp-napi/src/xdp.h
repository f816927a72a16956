/*
 * AF_XDP for JavaScript: what the parts of this module share.
 *
 *   module.c     one environment: tables of what is open; teardown
 *   *-binding.c  JavaScript's entry points: arguments in, status out (binding.h)
 *   interface.c  what the kernel says of a network interface
 *   umem.c       the caller's memory as UMEM
 *   socket.c     one AF_XDP socket: rings, binding, kicks, statistics
 *   program.c    the redirect program: built, loaded and attached with bpf(2) alone
 *   readiness.c  one-shot "a frame can be received", by uv_poll
 *
 * The rings are handed to JavaScript as ArrayBuffers, so that a burst needs no call into this module; only a kick does.
 *
 * Status convention: 0 or a count, else -errno. Nothing here throws and nothing aborts: index.js makes errors of a
 * negative status.
 */
#ifndef XDP_NAPI_XDP_H
#define XDP_NAPI_XDP_H

#include <linux/if_xdp.h>
#include <net/if.h>
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* Younger than the headers of some systems that run a kernel which has them. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4) /* Linux 6.6: frames of several descriptors */
#endif
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* Linux 6.17: frames a kick sends in copy mode */
#endif
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif
#ifndef SO_BUSY_POLL_BUDGET
#define SO_BUSY_POLL_BUDGET 70
#endif

enum {
  CHUNK_BYTES = 2048,
  EXTENTS_MAX = 64,
  QUEUES_MAX = 64,
  RING_ENTRIES_MAX = 1 << 16,
  IPV6_ADDRESSES_MAX = 4,
};

/* Which step of opening failed; index.js words the error by it. */
enum stage { STAGE_SOCKET, STAGE_UMEM, STAGE_RINGS, STAGE_MAP, STAGE_BIND };

enum ring_kind { RING_FILL, RING_COMPLETION, RING_RX, RING_TX, RINGS };

struct ring {
  void *map;
  size_t map_bytes;
  uint32_t producer, consumer, flags, descriptors; /* byte offsets in the map */
  uint32_t entries;
  napi_ref buffer; /* weak: the ArrayBuffer over the map, detached before the map goes */
};

struct module;

struct xsk {
  struct module *module;
  int fd;
  bool shares; /* the UMEM of another socket */
  struct ring rings[RINGS];
  uint16_t extents;
  napi_ref memory[EXTENTS_MAX]; /* strong: the memory stays as long as the kernel may write it */

  uv_poll_t poll;
  bool armed;
  napi_ref on_readable;
  napi_async_context async;
};

/* The loaded program, its map of sockets by queue, and the link that holds it on the interface. */
struct program {
  int map_fd, program_fd, link_fd;
};

/* One for each environment (main thread or worker). */
struct module {
  napi_env env;
  uv_loop_t *loop;
  struct xsk **sockets; /* by id; NULL: free */
  uint32_t sockets_size;
  struct program **programs;
  uint32_t programs_size;
  uint32_t closing; /* sockets whose poll handle libuv has not given back yet */
  bool ending;
  napi_async_cleanup_hook_handle cleanup;
};

/* module.c */
void module_socket_closed(struct module *module);

/* interface.c */
struct interface {
  int index;
  int mtu;
  int up;
  int queues; /* receive queues, at least 1 */
  int stamps; /* 1: it stamps the arrival of every frame */
  uint8_t mac[6];
};
int interface_read(const char *name, struct interface *interface);

/* umem.c */
struct umem {
  uint8_t *base; /* address 0 of the UMEM */
  uint64_t bytes;
};
/*
 * The extents, which must be parts of one mapping: extents[i] lies at offsets[i] of it. The UMEM begins where the
 * mapping does, so that an address of a descriptor is an offset in the mapping. References are kept in `xsk`.
 */
int umem_find(struct xsk *xsk, napi_value extents, napi_value offsets, struct umem *umem);
int umem_register(int fd, const struct umem *umem, uint32_t headroom);

/* socket.c */
struct socket_options {
  uint32_t ifindex, queue;
  uint32_t entries[RINGS];
  uint32_t headroom;
  uint16_t bind_flags; /* XDP_COPY, XDP_ZEROCOPY, XDP_USE_SG or none */
  int busy_poll_us;    /* 0: off */
  int share_fd;        /* socket whose UMEM is shared, or -1 */
};
int socket_open(struct xsk *xsk, const struct socket_options *options, const struct umem *umem, enum stage *stage);
/* Unmaps and forgets the rings; the descriptor stays. */
void socket_unmap(struct xsk *xsk);
int socket_is_zero_copy(int fd);
/* Has the kernel send what is in the transmit ring. */
int socket_kick(int fd);
/* Tells the driver that the fill ring has something again. */
int socket_wake(int fd);
#define STATISTICS 6
int socket_statistics(int fd, uint64_t statistics[STATISTICS]);

/* program.c */
struct program_options {
  uint32_t ifindex, queues;
  uint8_t mac[6];
  uint8_t ipv4[4];
  uint32_t ipv6_count;
  uint8_t ipv6[IPV6_ADDRESSES_MAX][16];
  uint32_t attach_flags; /* XDP_FLAGS_DRV_MODE or XDP_FLAGS_SKB_MODE */
  bool fragments; /* frames of several buffers, too */
  int32_t timestamp_function; /* BTF id of bpf_xdp_metadata_rx_timestamp in the kernel, 0: no timestamps */
};
enum program_stage { PROGRAM_MAP, PROGRAM_LOAD, PROGRAM_ATTACH };
int program_open(struct program *program, const struct program_options *options, enum program_stage *stage);
int program_set_socket(struct program *program, uint32_t queue, int fd);
void program_close(struct program *program);
/* Whether this process may make the map and the program; leaves nothing. */
int program_probe(void);

/* readiness.c */
int readiness_open(struct xsk *xsk, napi_value on_readable);
int readiness_arm(struct xsk *xsk);
/* Closes the poll handle and the descriptor; frees `xsk` when libuv has let go of it. */
void readiness_close(struct xsk *xsk);

#endif
