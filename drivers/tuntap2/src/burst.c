/*
 * Bursts: many frames for one call from JavaScript. A TAP is no socket (no recvmmsg), so the loop over the frames
 * is here; each frame costs one read or write.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tap.h"

/*
 * The C library's read and write are points where a thread can be cancelled, and in a process with several threads each
 * pays two atomic operations for that, around every frame. Nobody cancels this thread: the bare system calls.
 */
static ssize_t bare_read(int fd, void *place, size_t length) {
  return syscall(SYS_read, fd, place, length);
}

static ssize_t bare_readv(int fd, const struct iovec *places, size_t count) {
  return syscall(SYS_readv, fd, places, count);
}

static ssize_t bare_write(int fd, const void *place, size_t length) {
  return syscall(SYS_write, fd, place, length);
}

static ssize_t bare_writev(int fd, const struct iovec *places, size_t count) {
  return syscall(SYS_writev, fd, places, count);
}

/* The kernel calls an interface that was deleted EBADFD, which few know by name. */
static int lasting(int error) {
  return error == EBADFD ? ENODEV : error;
}

/*
 * What reads may fill: slots as iovecs, slot n in place n + 1. Built as far as reads need them, and no slot twice. The
 * place in front of a frame's first slot, whose own frame is described by then, is for its virtio_net_hdr.
 */
struct slots {
  struct iovec place[RECEIVE_SLOTS_MAX + 1];
  uint32_t ready;
  uint64_t alive;
  struct virtio_net_hdr header;
};

#define ROOM(slots, slot) (&(slots)->place[(slot) + 1])

/* Makes slots [0, end) ready. False: a descriptor is bad. */
static bool make_ready(struct tap *tap, struct slots *slots, const int32_t *descriptors, uint32_t end) {
  for (; slots->ready < end; slots->ready++) {
    const int32_t *d = descriptors + (size_t)slots->ready * DESCRIPTOR_WORDS;
    uint8_t *place = memory_view(tap, &slots->alive, d[D_BUFFER], d[D_OFFSET], d[D_LENGTH]);
    if (place == NULL) return false;
    *ROOM(slots, slots->ready) = (struct iovec){.iov_base = place, .iov_len = (size_t)d[D_LENGTH]};
  }
  return true;
}

static size_t room_of(const struct slots *slots, uint32_t first, uint32_t end) {
  size_t room = 0;
  for (uint32_t slot = first; slot < end; slot++) room += ROOM(slots, slot)->iov_len;
  return room;
}

/*
 * Writes the descriptors of a frame of `length` bytes that begins in slot `first`: lengths, and sums of each piece
 * while its bytes are in the cache; of the first from byte 14 on. Returns the slot behind it.
 */
static uint32_t describe(const struct slots *slots, int32_t *descriptors, uint32_t first, size_t length) {
  uint32_t slot = first;
  size_t header = ETHERNET_HEADER_BYTES;
  for (;;) {
    int32_t *d = descriptors + (size_t)slot * DESCRIPTOR_WORDS;
    const struct iovec *room = ROOM(slots, slot++);
    size_t piece = length < room->iov_len ? length : room->iov_len;
    size_t skipped = header < piece ? header : piece;
    d[D_LENGTH] = (int32_t)piece;
    d[D_SUM] = (int32_t)inet_sum((const uint8_t *)room->iov_base + skipped, piece - skipped);
    length -= piece;
    if (length == 0) return slot;
    d[D_SUM] |= RX_MORE;
    header = 0;
  }
}

/* One frame into slots [first, end). Returns its length without the virtio_net_hdr, or -1. */
static ssize_t read_frame(struct tap *tap, struct slots *slots, uint32_t first, uint32_t end) {
  if (!tap->has_headers) {
    struct iovec *room = ROOM(slots, first);
    return end - first == 1 ? bare_read(tap->fd, room->iov_base, room->iov_len) : bare_readv(tap->fd, room, end - first);
  }
  struct iovec *place = &slots->place[first];
  *place = (struct iovec){.iov_base = &slots->header, .iov_len = sizeof slots->header};
  ssize_t length = bare_readv(tap->fd, place, end - first + 1);
  return length < 0 ? length : length - (ssize_t)sizeof slots->header;
}

/*
 * In: descriptors [buffer, offset, room], `count` of them. Out: [buffer, offset, length, sum | flags]; a frame that is
 * longer than a room goes on in the next one. A frame may fill up to `frame_slots` of them. The kernel cuts a frame to
 * the room silently: one that fills all of it may have been cut, so it is counted and dropped, and a frame that is kept
 * is shorter than its room. Returns the number of descriptors filled, or -errno if there is none.
 */
int burst_receive(struct tap *tap, int32_t *descriptors, uint32_t count, uint32_t frames_max, uint32_t frame_slots) {
  struct slots slots;
  slots.ready = 0;
  slots.alive = 0;
  uint32_t used = 0;
  /* At most so many reads, dropped frames included: the call ends under a flood of frames too long. */
  for (uint32_t reads = 0; reads < frames_max && used < count; reads++) {
    uint32_t end = count - used < frame_slots ? count : used + frame_slots;
    /* What is left is less than a frame may need: the next call brings more, unless there are no more. */
    if (end - used < frame_slots && used > 0) break;
    if (!make_ready(tap, &slots, descriptors, end)) return used > 0 ? (int)used : -EINVAL;
    ssize_t length = read_frame(tap, &slots, used, end);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || used > 0) break; /* an error that lasts comes back with the next call */
      return -lasting(errno);
    }
    if ((size_t)length >= room_of(&slots, used, end)) {
      tap->counters[C_RECEIVE_TRUNCATED]++;
      continue;
    }
    int32_t *frame = descriptors + (size_t)used * DESCRIPTOR_WORDS;
    uint32_t next = describe(&slots, descriptors, used, (size_t)length);
    if (tap->has_headers) {
      if (slots.header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        offload_complete_sum(tap, &slots.header, ROOM(&slots, used)->iov_base, frame, next - used);
      if (slots.header.gso_type != VIRTIO_NET_HDR_GSO_NONE) tap->counters[C_RECEIVED_LONG]++;
    }
    used = next;
    tap->counters[C_RECEIVED_FRAMES]++;
    tap->counters[C_RECEIVED_BYTES] += (uint64_t)length;
  }
  return (int)used;
}

/* Whether every descriptor lies in memory and every frame has an end. */
static bool is_valid(struct tap *tap, const int32_t *descriptors, uint32_t count) {
  uint64_t alive = 0;
  uint32_t views = 0;
  for (const int32_t *d = descriptors; d < descriptors + (size_t)count * DESCRIPTOR_WORDS; d += DESCRIPTOR_WORDS) {
    if (memory_view(tap, &alive, d[D_BUFFER], d[D_OFFSET], d[D_LENGTH]) == NULL) return false;
    if (++views > TX_FRAME_DESCRIPTORS_MAX) return false;
    if ((d[D_FLAGS] & TX_MORE) == 0) views = 0;
  }
  return views == 0;
}

/* The device or its queue says no to this frame; the next one may pass. */
static bool is_refusal(int error) {
  return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == EIO || error == EINVAL || error == EMSGSIZE;
}

/*
 * Descriptors [buffer, offset, length, flags]; TX_MORE: the frame goes on. A refused frame is counted and skipped.
 * Returns the number of frames sent. -EINVAL: a descriptor is bad, nothing was sent. Other -errno: the device is
 * gone. Descriptors that lie in the buffers themselves, or in shared memory, may change meanwhile: then what is left is
 * not sent.
 */
int burst_transmit(struct tap *tap, const int32_t *descriptors, uint32_t count) {
  if (!is_valid(tap, descriptors, count)) return -EINVAL;
  uint64_t alive = UINT64_MAX; /* just validated, and no JavaScript runs in between */
  struct virtio_net_hdr header;
  struct iovec places[1 + TX_FRAME_DESCRIPTORS_MAX] = {{.iov_base = &header, .iov_len = sizeof header}};
  struct iovec *views = places + 1;
  int used = 0;
  int sent = 0;
  uint32_t flags = 0; /* of the frame's first descriptor */
  size_t bytes = 0;
  for (const int32_t *d = descriptors; d < descriptors + (size_t)count * DESCRIPTOR_WORDS; d += DESCRIPTOR_WORDS) {
    const int32_t length_now = d[D_LENGTH];
    const uint32_t flags_now = (uint32_t)d[D_FLAGS];
    uint8_t *view = memory_view(tap, &alive, d[D_BUFFER], d[D_OFFSET], length_now);
    if (view == NULL || used == TX_FRAME_DESCRIPTORS_MAX) return -EINVAL;
    views[used].iov_base = view;
    views[used].iov_len = (size_t)length_now;
    if (used == 0) flags = flags_now;
    bytes += (size_t)length_now;
    used++;
    if (flags_now & TX_MORE) continue;

    if (tap->has_headers) {
      if (flags & TX_TCP)
        offload_describe(tap, &header, views[0].iov_base, views[0].iov_len, bytes, flags >> TX_SEGMENT_SHIFT);
      else memset(&header, 0, sizeof header);
    }
    ssize_t length;
    do {
      if (tap->has_headers) length = bare_writev(tap->fd, places, (size_t)used + 1);
      else if (used == 1) length = bare_write(tap->fd, views[0].iov_base, views[0].iov_len);
      else length = bare_writev(tap->fd, views, (size_t)used);
    } while (length < 0 && errno == EINTR);
    size_t frame_bytes = bytes;
    used = 0;
    bytes = 0;
    if (length >= 0) {
      tap->counters[C_TRANSMITTED_FRAMES]++;
      tap->counters[C_TRANSMITTED_BYTES] += frame_bytes;
      sent++;
    } else if (is_refusal(errno)) {
      tap->counters[C_TRANSMIT_REFUSED]++;
    } else {
      return -lasting(errno);
    }
  }
  return sent;
}
