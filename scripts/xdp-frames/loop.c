/*
 * The least that moves frames over AF_XDP: what the device of Packrat is measured against (run.sh). No pool, no
 * sums, no protocol: the rings, and nothing else.
 *
 *   loop rx IFACE SECONDS          receives and gives back; prints frames a second
 *   loop tx IFACE SECONDS MAC      sends frames of 60 bytes to MAC from 10.66.0.1 to 10.66.0.2; prints frames a second
 *
 * UMEM of 64 MiB in memory of its own, chunks of 2048 bytes, rings of 2048 entries, copy mode, native XDP: as in xdp.ts.
 */
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ENTRIES = 2048, CHUNK = 2048, CHUNKS = 32768, BATCH = 128, FRAME = 60 };

struct ring {
  uint32_t *producer, *consumer, *flags;
  void *entries;
};

static void fail(const char *what) {
  perror(what);
  exit(3);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct ring map_ring(int fd, const struct xdp_ring_offset *offset, size_t entry, uint64_t page) {
  uint8_t *map = mmap(NULL, offset->desc + ENTRIES * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                      (off_t)page);
  if (map == MAP_FAILED) fail("mmap of a ring");
  return (struct ring){(uint32_t *)(map + offset->producer), (uint32_t *)(map + offset->consumer),
                       (uint32_t *)(map + offset->flags), map + offset->desc};
}

/* Redirects every frame to the socket of its queue, for as long as the process lives. */
static void attach(int xsk, unsigned ifindex) {
  union bpf_attr map = {.map_type = BPF_MAP_TYPE_XSKMAP, .key_size = 4, .value_size = 4, .max_entries = 1};
  int map_fd = (int)syscall(__NR_bpf, BPF_MAP_CREATE, &map, sizeof map);
  if (map_fd < 0) fail("BPF_MAP_CREATE");
  struct bpf_insn code[] = {
      {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = offsetof(struct xdp_md, rx_queue_index)},
      {.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map_fd},
      {0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = XDP_PASS},
      {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
      {.code = BPF_JMP | BPF_EXIT},
  };
  union bpf_attr program = {.prog_type = BPF_PROG_TYPE_XDP,
                            .expected_attach_type = BPF_XDP,
                            .insns = (uintptr_t)code,
                            .insn_cnt = sizeof code / sizeof *code,
                            .license = (uintptr_t) "MIT"};
  int program_fd = (int)syscall(__NR_bpf, BPF_PROG_LOAD, &program, sizeof program);
  if (program_fd < 0) fail("BPF_PROG_LOAD");
  union bpf_attr link = {0};
  link.link_create.prog_fd = (uint32_t)program_fd;
  link.link_create.target_ifindex = ifindex;
  link.link_create.attach_type = BPF_XDP;
  link.link_create.flags = XDP_FLAGS_DRV_MODE;
  if (syscall(__NR_bpf, BPF_LINK_CREATE, &link, sizeof link) < 0) fail("BPF_LINK_CREATE");
  uint32_t key = 0, value = (uint32_t)xsk;
  union bpf_attr update = {0};
  update.map_fd = (uint32_t)map_fd;
  update.key = (uintptr_t)&key;
  update.value = (uintptr_t)&value;
  if (syscall(__NR_bpf, BPF_MAP_UPDATE_ELEM, &update, sizeof update) < 0) fail("BPF_MAP_UPDATE_ELEM");
}

static uint64_t receive(struct ring *fill, struct ring *rx, double seconds) {
  uint64_t *addresses = fill->entries;
  struct xdp_desc *frames = rx->entries;
  uint32_t filled = ENTRIES, taken = 0;
  for (uint32_t index = 0; index < ENTRIES; index++) addresses[index] = (uint64_t)index * CHUNK;
  __atomic_store_n(fill->producer, filled, __ATOMIC_RELEASE);
  uint64_t total = 0;
  for (double end = now() + seconds; now() < end;) {
    uint32_t count = __atomic_load_n(rx->producer, __ATOMIC_ACQUIRE) - taken;
    if (count > BATCH) count = BATCH;
    for (uint32_t index = 0; index < count; index++) {
      addresses[filled++ % ENTRIES] = frames[taken++ % ENTRIES].addr & ~(uint64_t)(CHUNK - 1);
    }
    if (count == 0) continue;
    __atomic_store_n(rx->consumer, taken, __ATOMIC_RELEASE);
    __atomic_store_n(fill->producer, filled, __ATOMIC_RELEASE);
    total += count;
  }
  return total;
}

static uint64_t transmit(int fd, struct ring *tx, struct ring *completion, double seconds) {
  struct xdp_desc *frames = tx->entries;
  uint32_t queued = 0, done = 0;
  for (double end = now() + seconds; now() < end;) {
    uint32_t completed = __atomic_load_n(completion->producer, __ATOMIC_ACQUIRE);
    done = completed;
    __atomic_store_n(completion->consumer, completed, __ATOMIC_RELEASE);
    uint32_t room = ENTRIES - (queued - done);
    uint32_t count = room < BATCH ? room : BATCH;
    for (uint32_t index = 0; index < count; index++, queued++) {
      frames[queued % ENTRIES] = (struct xdp_desc){.addr = (uint64_t)(queued % CHUNKS) * CHUNK, .len = FRAME};
    }
    __atomic_store_n(tx->producer, queued, __ATOMIC_RELEASE);
    sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
  }
  return done;
}

static void write_frames(uint8_t *umem, const char *mac) {
  uint8_t frame[FRAME] = {0};
  unsigned byte[6];
  if (sscanf(mac, "%x:%x:%x:%x:%x:%x", byte, byte + 1, byte + 2, byte + 3, byte + 4, byte + 5) != 6) exit(2);
  for (int index = 0; index < 6; index++) frame[index] = (uint8_t)byte[index];
  frame[6] = 2;
  frame[12] = 8; /* IPv4, UDP, 10.66.0.1 to 10.66.0.2; no sum is right, nobody looks */
  frame[14] = 0x45;
  frame[17] = FRAME - 14;
  frame[22] = 64;
  frame[23] = 17;
  memcpy(frame + 26, "\x0a\x42\x00\x01\x0a\x42\x00\x02", 8);
  for (size_t chunk = 0; chunk < CHUNKS; chunk++) memcpy(umem + chunk * CHUNK, frame, FRAME);
}

int main(int count, char **arguments) {
  if (count < 4 || (strcmp(arguments[1], "tx") == 0 && count < 5)) {
    fprintf(stderr, "usage: loop rx IFACE SECONDS | loop tx IFACE SECONDS MAC\n");
    return 2;
  }
  int sending = strcmp(arguments[1], "tx") == 0;
  unsigned ifindex = if_nametoindex(arguments[2]);
  double seconds = atof(arguments[3]);
  int fd = socket(AF_XDP, SOCK_RAW, 0);
  if (fd < 0) fail("socket");
  uint8_t *umem = mmap(NULL, (size_t)CHUNKS * CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
                       -1, 0);
  if (umem == MAP_FAILED) fail("mmap");
  if (sending) write_frames(umem, arguments[4]);
  struct xdp_umem_reg registration = {.addr = (uintptr_t)umem, .len = (uint64_t)CHUNKS * CHUNK, .chunk_size = CHUNK};
  if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &registration, sizeof registration) < 0) fail("XDP_UMEM_REG");
  int entries = ENTRIES;
  const int options[] = {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING};
  for (int index = 0; index < 4; index++) {
    if (setsockopt(fd, SOL_XDP, options[index], &entries, sizeof entries) < 0) fail("a ring");
  }
  struct xdp_mmap_offsets offsets;
  socklen_t length = sizeof offsets;
  if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length) < 0) fail("XDP_MMAP_OFFSETS");
  struct ring fill = map_ring(fd, &offsets.fr, sizeof(uint64_t), XDP_UMEM_PGOFF_FILL_RING);
  struct ring completion = map_ring(fd, &offsets.cr, sizeof(uint64_t), XDP_UMEM_PGOFF_COMPLETION_RING);
  struct ring rx = map_ring(fd, &offsets.rx, sizeof(struct xdp_desc), XDP_PGOFF_RX_RING);
  struct ring tx = map_ring(fd, &offsets.tx, sizeof(struct xdp_desc), XDP_PGOFF_TX_RING);
  struct sockaddr_xdp address = {
      .sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY | XDP_USE_NEED_WAKEUP, .sxdp_ifindex = ifindex};
  for (int tries = 0; bind(fd, (struct sockaddr *)&address, sizeof address) < 0; tries++) {
    if (tries == 200) fail("bind");
    usleep(5000); /* the process before may just have ended */
  }
  if (!sending) attach(fd, ifindex);
  double started = now();
  uint64_t frames = sending ? transmit(fd, &tx, &completion, seconds) : receive(&fill, &rx, seconds);
  printf("%.0f\n", (double)frames / (now() - started));
  return 0;
}
