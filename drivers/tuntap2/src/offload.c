/*
 * Offloads: what a virtio_net_hdr in front of a frame says, and what has to be done so that frames look the same with
 * and without it.
 *
 *   received   a frame whose checksum field holds the pseudo-header's sum only (it never crossed a wire) gets the right
 *              checksum: the sums of its pieces are known, so no byte is read for it
 *   sent       a TCP frame with the right checksum gets the pseudo-header's sum instead, and the kernel need not verify
 *              it; a frame of several segments says how long one is, and the kernel cuts it where somebody wants segments
 *
 * So whoever calls the bursts sees right checksums only.
 */
#include <string.h>

#include "tap.h"

enum {
  ETHERTYPE_AT = 12,
  ETHERTYPE_IPV4 = 0x0800,
  IPV4_ADDRESSES_AT = ETHERNET_HEADER_BYTES + 12,
  IPV4_ADDRESSES_BYTES = 8,
  IPV6_ADDRESSES_AT = ETHERNET_HEADER_BYTES + 8,
  IPV6_ADDRESSES_BYTES = 32,
  IPV6_HEADER_BYTES = 40,
  PROTOCOL_TCP = 6,
  TCP_CHECKSUM_AT = 16,
  TCP_HEADER_BYTES = 20,
  UDP_CHECKSUM_AT = 6,
};

static uint32_t read16(const uint8_t *bytes) {
  return (uint32_t)bytes[0] << 8 | bytes[1];
}

static void write16(uint8_t *bytes, uint32_t value) {
  bytes[0] = (uint8_t)(value >> 8);
  bytes[1] = (uint8_t)value;
}

static uint32_t fold(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

/* What a sum counts for that starts `offset` bytes into the whole (RFC 1071 2.B). */
static uint32_t placed(uint32_t sum, size_t offset) {
  return offset & 1 ? (sum & 0xff) << 8 | sum >> 8 : sum;
}

/*
 * Completes the checksum that `header` says is partial, of the frame whose first bytes are at `frame` and whose pieces,
 * lengths and sums, are described. Corrects the first sum. A header that does not fit the frame changes nothing: the
 * frame fails its checksum then.
 */
void offload_complete_sum(struct tap *tap, const struct virtio_net_hdr *header, uint8_t *frame, int32_t *descriptors,
                          uint32_t pieces) {
  size_t start = header->csum_start;
  size_t field = start + header->csum_offset;
  size_t first = (size_t)descriptors[D_LENGTH];
  if (start < ETHERNET_HEADER_BYTES || field + 2 > first) return;
  uint32_t sum = 0;
  size_t offset = 0;
  for (uint32_t piece = 0; piece < pieces; piece++) {
    const int32_t *d = descriptors + (size_t)piece * DESCRIPTOR_WORDS;
    /* The first sum begins behind the Ethernet header, which has an even length. */
    sum = fold(sum + placed((uint32_t)d[D_SUM] & 0xffff, offset));
    offset += (size_t)d[D_LENGTH];
  }
  uint32_t before = inet_sum(frame + ETHERNET_HEADER_BYTES, start - ETHERNET_HEADER_BYTES);
  uint32_t segment = placed(fold(sum + (~before & 0xffff)), start);
  uint32_t checksum = ~segment & 0xffff;
  if (checksum == 0 && header->csum_offset == UDP_CHECKSUM_AT) checksum = 0xffff; /* RFC 768: 0 says there is none */
  uint32_t difference = fold(checksum + (~read16(frame + field) & 0xffff));
  write16(frame + field, checksum);
  uint32_t flags = (uint32_t)descriptors[D_SUM] & RX_MORE;
  descriptors[D_SUM] = (int32_t)(fold(((uint32_t)descriptors[D_SUM] & 0xffff) + placed(difference, field)) | flags);
  tap->counters[C_RECEIVED_PARTIAL_SUMS]++;
}

/*
 * The header for a TCP frame of `length` bytes, of which the first `head` are at `frame`: Ethernet, IP and TCP headers.
 * Its checksum becomes partial. With `segment_bytes` the payload is to be cut into segments of that size.
 */
void offload_describe(struct tap *tap, struct virtio_net_hdr *header, uint8_t *frame, size_t head, size_t length,
                      uint32_t segment_bytes) {
  memset(header, 0, sizeof *header);
  if (head < ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES) return;
  bool is_ipv4 = read16(frame + ETHERTYPE_AT) == ETHERTYPE_IPV4;
  size_t start = ETHERNET_HEADER_BYTES + (is_ipv4 ? (size_t)(frame[ETHERNET_HEADER_BYTES] & 15) * 4 : IPV6_HEADER_BYTES);
  if (head < start + TCP_HEADER_BYTES || length < head) return;
  uint32_t addresses = is_ipv4 ? inet_sum(frame + IPV4_ADDRESSES_AT, IPV4_ADDRESSES_BYTES)
                               : inet_sum(frame + IPV6_ADDRESSES_AT, IPV6_ADDRESSES_BYTES);
  uint32_t bytes = (uint32_t)(length - start);
  write16(frame + start + TCP_CHECKSUM_AT, fold(addresses + PROTOCOL_TCP + (bytes & 0xffff) + (bytes >> 16)));
  header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header->csum_start = (uint16_t)start;
  header->csum_offset = TCP_CHECKSUM_AT;
  if (segment_bytes == 0 || length - head <= segment_bytes) return;
  header->gso_type = is_ipv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
  header->gso_size = (uint16_t)segment_bytes;
  header->hdr_len = (uint16_t)head;
  tap->counters[C_TRANSMITTED_LONG]++;
}
