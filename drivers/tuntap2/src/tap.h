/*
 * One open TAP interface, and what the parts of this module share.
 *
 *   module.c             table of open TAPs, its life and teardown
 *   tap-binding.c        JavaScript's entry points for an open TAP and its frames
 *   interface-binding.c  those for the interface and its configuration
 *   binding.c            their arguments and results
 *   interface.c          open and configure, by ioctl
 *   steering.c           which processors take in what is sent
 *   memory.c             the buffers of a region: index -> address, bounds-checked
 *   burst.c              receive and transmit bursts
 *   offload.c            partial checksums, frames of several segments
 *   readiness.c          one-shot "a frame can be received", by uv_poll
 *   inet-sum.c           Internet sum
 *
 * Status convention: 0 or a count, else -errno. Nothing here throws and nothing aborts: index.js makes errors
 * of a negative status.
 */
#ifndef TUNTAP2_TAP_H
#define TUNTAP2_TAP_H

#include <linux/virtio_net.h>
#include <net/if.h>
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
  BUFFER_BYTES = 2048,
  /* A buffer index is extent << EXTENT_BUFFERS_SHIFT | local. */
  EXTENT_BUFFERS_SHIFT = 18,
  EXTENT_BUFFERS_MAX = 1 << EXTENT_BUFFERS_SHIFT,
  EXTENTS_MAX = 64,
};

/* Descriptors: four int32, [buffer, offset, length, sum or flags]. */
enum { D_BUFFER, D_OFFSET, D_LENGTH, D_SUM, DESCRIPTOR_WORDS };
#define D_FLAGS D_SUM
/* Transmit: the frame goes on in the next descriptor. */
#define TX_MORE 1
/* Of a frame's first descriptor: TCP, its headers all in this one; and in the upper half how long a segment is, or 0. */
#define TX_TCP 2
#define TX_SEGMENT_SHIFT 16
/* The same as TX_MORE in a received descriptor, above the sum. */
#define RX_MORE (1 << 16)
/* Descriptors of one receive call. */
#define RECEIVE_SLOTS_MAX 1024
/* Descriptors of one frame; well below IOV_MAX (1024). */
#define TX_FRAME_DESCRIPTORS_MAX 64

#define ETHERNET_HEADER_BYTES 14

struct extent {
  uint8_t *buffers; /* buffer 0 */
  uint32_t count;
  size_t end;      /* of the last buffer in the ArrayBuffer, bytes */
  napi_ref memory; /* strong: keeps the ArrayBuffer from being collected */
};

/* Since the TAP was opened. index.d.ts names the places. */
enum {
  C_RECEIVED_FRAMES,
  C_RECEIVED_BYTES,
  C_RECEIVE_TRUNCATED,
  C_TRANSMITTED_FRAMES,
  C_TRANSMITTED_BYTES,
  C_TRANSMIT_REFUSED,
  C_RECEIVED_PARTIAL_SUMS,
  C_RECEIVED_LONG,
  C_TRANSMITTED_LONG,
  COUNTERS,
};

/* What the kernel may leave to the other side. */
enum offload { OFFLOAD_NONE, OFFLOAD_CHECKSUM, OFFLOAD_ALL };

struct module;

struct tap {
  struct module *module;
  int fd;
  bool has_headers; /* a virtio_net_hdr stands in front of each frame */
  uint64_t counters[COUNTERS];

  uint32_t extents;
  struct extent extent[EXTENTS_MAX];

  uv_poll_t poll;
  bool armed;
  napi_ref on_readable;
  napi_async_context async;
};

/* One for each environment (main thread or worker). */
struct module {
  napi_env env;
  uv_loop_t *loop;
  struct tap **taps; /* by id; NULL: free */
  uint32_t taps_size;
  uint32_t closing; /* TAPs whose poll handle libuv has not given back yet */
  bool ending;
  napi_async_cleanup_hook_handle cleanup;
};

/* module.c */
void module_tap_closed(struct module *module);

/* interface.c */
int interface_open(const char *name, enum offload offload);
int interface_probe(void);
int interface_name(int fd, char name[IFNAMSIZ]);
int interface_set_persistent(int fd, bool persistent);
int interface_get_mac(int fd, uint8_t mac[6]);
int interface_set_mac(int fd, const uint8_t mac[6]);
int interface_get_mtu(int fd);
int interface_set_mtu(int fd, uint32_t mtu);
int interface_get_queue_length(int fd);
int interface_set_queue_length(int fd, uint32_t frames);
int interface_get_up(int fd);
int interface_set_up(int fd, bool up);
/* Address and prefix length as text `address/prefix`; text is "" when the interface has none. */
#define ADDRESS_TEXT_BYTES 64
int interface_get_address(int fd, int family, char text[ADDRESS_TEXT_BYTES]);
int interface_set_address(int fd, int family, const char *address, uint32_t prefix);

/* memory.c */
int memory_attach(struct tap *tap, napi_value memories, napi_value starts, napi_value counts);
void memory_detach(struct tap *tap);
/*
 * Address of a view, or NULL if any part of it lies outside the attached memory. `alive` collects over one burst
 * the extents that were found to be there still; it starts as 0.
 */
uint8_t *memory_view(struct tap *tap, uint64_t *alive, int32_t buffer, int32_t offset, int32_t length);

/* burst.c */
int burst_receive(struct tap *tap, int32_t *descriptors, uint32_t count, uint32_t frames_max, uint32_t frame_slots);
int burst_transmit(struct tap *tap, const int32_t *descriptors, uint32_t count);

/* offload.c */
void offload_complete_sum(struct tap *tap, const struct virtio_net_hdr *header, uint8_t *frame, int32_t *descriptors,
                          uint32_t pieces);
void offload_describe(struct tap *tap, struct virtio_net_hdr *header, uint8_t *frame, size_t head, size_t length,
                      uint32_t segment_bytes);

/* readiness.c */
int readiness_open(struct tap *tap, napi_value on_readable);
int readiness_arm(struct tap *tap);
/* Closes the poll handle and the descriptor; frees `tap` when libuv has let go of it. */
void readiness_close(struct tap *tap);

/* steering.c: the mask of processors as the kernel writes it, hexadecimal words of 32 with commas between. */
#define STEERING_TEXT_BYTES 4096
int steering_get(int fd, char text[STEERING_TEXT_BYTES]);
int steering_set(int fd, const char *text);

/* inet-sum.c */
uint32_t inet_sum(const uint8_t *bytes, size_t length);

#endif
