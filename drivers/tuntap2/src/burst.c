/*
 * Bursts: many frames for one call from JavaScript. A TAP is no socket (no recvmmsg), so the loop over the frames
 * is here; each frame costs one read or write.
 */
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tap.h"

/* The kernel calls an interface that was deleted EBADFD, which few know by name. */
static int lasting(int error) {
  return error == EBADFD ? ENODEV : error;
}

/*
 * In: descriptors [buffer, offset, room]. Out: [buffer, offset, length, sum], sum from byte 14 to the end, taken
 * while the bytes are in the cache. The kernel cuts a frame to the room silently: one that fills all of it may have
 * been cut, so it is counted and dropped, and a frame that is kept is shorter than its room.
 * Returns the number of frames, or -errno if there is none.
 */
int burst_receive(struct tap *tap, int32_t *descriptors, uint32_t max) {
  uint64_t alive = 0;
  uint32_t frames = 0;
  /* At most `max` reads, dropped frames included: the call ends under a flood of frames too long. */
  for (uint32_t reads = 0; reads < max; reads++) {
    int32_t *descriptor = descriptors + (size_t)frames * DESCRIPTOR_WORDS;
    int32_t room = descriptor[D_LENGTH];
    uint8_t *frame = memory_view(tap, &alive, descriptor[D_BUFFER], descriptor[D_OFFSET], room);
    if (frame == NULL) return frames > 0 ? (int)frames : -EINVAL;
    ssize_t length = read(tap->fd, frame, (size_t)room);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || frames > 0) break; /* an error that lasts comes back with the next call */
      return -lasting(errno);
    }
    if (length >= room) {
      tap->counters[C_RECEIVE_TRUNCATED]++;
      continue;
    }
    descriptor[D_LENGTH] = (int32_t)length;
    descriptor[D_SUM] = length > ETHERNET_HEADER_BYTES
                            ? (int32_t)inet_sum(frame + ETHERNET_HEADER_BYTES, (size_t)length - ETHERNET_HEADER_BYTES)
                            : 0;
    tap->counters[C_RECEIVED_FRAMES]++;
    tap->counters[C_RECEIVED_BYTES] += (uint64_t)length;
    frames++;
  }
  return (int)frames;
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
 * gone.
 */
int burst_transmit(struct tap *tap, const int32_t *descriptors, uint32_t count) {
  if (!is_valid(tap, descriptors, count)) return -EINVAL;
  uint64_t alive = UINT64_MAX; /* just validated, and no JavaScript runs in between */
  struct iovec views[TX_FRAME_DESCRIPTORS_MAX];
  int used = 0;
  int sent = 0;
  for (const int32_t *d = descriptors; d < descriptors + (size_t)count * DESCRIPTOR_WORDS; d += DESCRIPTOR_WORDS) {
    views[used].iov_base = memory_view(tap, &alive, d[D_BUFFER], d[D_OFFSET], d[D_LENGTH]);
    views[used].iov_len = (size_t)d[D_LENGTH];
    used++;
    if (d[D_FLAGS] & TX_MORE) continue;

    ssize_t length;
    do {
      length = used == 1 ? write(tap->fd, views[0].iov_base, views[0].iov_len) : writev(tap->fd, views, used);
    } while (length < 0 && errno == EINTR);
    used = 0;
    if (length >= 0) {
      tap->counters[C_TRANSMITTED_FRAMES]++;
      tap->counters[C_TRANSMITTED_BYTES] += (uint64_t)length;
      sent++;
    } else if (is_refusal(errno)) {
      tap->counters[C_TRANSMIT_REFUSED]++;
    } else {
      return -lasting(errno);
    }
  }
  return sent;
}
