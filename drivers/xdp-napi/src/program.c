/*
 * The redirect program: frames for us go into the AF_XDP socket of their queue, all others to the kernel.
 *
 *                        ┌ ARP for our IPv4 address ───────────────────┐
 *   frame ── long enough ┤ to our MAC: IPv4 or IPv6 to our address ────┼─► redirect_map(sockets, queue, else pass)
 *                        └ IPv6 multicast to one of our groups ────────┘
 *                          all else ─────────────────────────────────────► XDP_PASS
 *
 * With timestamps, what the driver knows of the arrival is put in front of the frame (XDP metadata, Linux 6.3): the
 * program asks it by bpf_xdp_metadata_rx_timestamp, a kernel function that is named by its number in the kernel's BTF
 * and may be called only by programs that are bound to one interface.
 *
 *   metadata   [ ns, u64, little-endian; 0: the driver has none of this frame ] frame …
 *
 * It is a few dozen instructions, assembled here, with the addresses as immediate values: no library, no compiler. It
 * is under MIT or GPL, as the user likes: the kernel's functions are for programs that could be under GPL. It hangs on the interface by a bpf_link (Linux 5.9), which the kernel takes away with the last descriptor: a
 * process that dies never leaves an interface without its traffic.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "xdp.h"

/* Younger than the headers of some systems that run a kernel which has them. */
#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5) /* Linux 5.18 */
#endif
#ifndef BPF_F_XDP_DEV_BOUND_ONLY
#define BPF_F_XDP_DEV_BOUND_ONLY (1U << 6) /* Linux 6.3 */
#endif

enum { INSTRUCTIONS_MAX = 128, JUMPS_MAX = 64 };
/* A signal interrupts the verifier (EAGAIN); a profiler sends one every millisecond. */
enum { LOAD_ROUNDS_MAX = 100 };
enum label { PASS, REDIRECT, HAND_OVER, STAMPED, ARP, MULTICAST, IPV6, NEXT_ADDRESS };
enum { ETHERNET_BYTES = 14, IPV4_BYTES = 20, ARP_BYTES = 28, IPV6_BYTES = 40 };
/* Offsets in the frame. */
enum { AT_TYPE = 12, AT_IPV4_DESTINATION = 30, AT_ARP_TARGET = 38, AT_IPV6_DESTINATION = 38 };
enum { R0, R1, R2, R3, R4, R5, R6, R10 = 10 };
/* The arrival in front of the frame, and on the stack until there is room for it. */
enum { STAMP_BYTES = 8 };

/* Instructions, and the jumps whose targets are not known yet. */
struct assembler {
  struct bpf_insn code[INSTRUCTIONS_MAX];
  int count;
  struct {
    int at;
    enum label to;
  } jumps[JUMPS_MAX];
  int jump_count;
};

static void emit(struct assembler *a, uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t value) {
  a->code[a->count++] = (struct bpf_insn){.code = code, .dst_reg = to, .src_reg = from, .off = offset, .imm = value};
}

static void move(struct assembler *a, uint8_t to, uint8_t from) {
  emit(a, BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}

static void load(struct assembler *a, uint8_t size, uint8_t to, uint8_t from, int16_t offset) {
  emit(a, BPF_LDX | BPF_MEM | size, to, from, offset, 0);
}

static void jump(struct assembler *a, uint8_t code, uint8_t left, int32_t value, enum label to) {
  a->jumps[a->jump_count].at = a->count;
  a->jumps[a->jump_count++].to = to;
  emit(a, code, left, 0, 0, value);
}

/* Compares 32 bits: a 64-bit comparison would extend the sign of the immediate value. */
static void jump_if(struct assembler *a, uint8_t left, uint32_t value, enum label to) {
  jump(a, BPF_JMP32 | BPF_JEQ | BPF_K, left, (int32_t)value, to);
}

static void jump_unless(struct assembler *a, uint8_t left, uint32_t value, enum label to) {
  jump(a, BPF_JMP32 | BPF_JNE | BPF_K, left, (int32_t)value, to);
}

static void jump_always(struct assembler *a, enum label to) {
  jump(a, BPF_JMP | BPF_JA, 0, 0, to);
}

/* Here is where the jumps to `label` so far lead. */
static void place(struct assembler *a, enum label label) {
  int kept = 0;
  for (int index = 0; index < a->jump_count; index++) {
    if (a->jumps[index].to == label) a->code[a->jumps[index].at].off = (int16_t)(a->count - a->jumps[index].at - 1);
    else a->jumps[kept++] = a->jumps[index];
  }
  a->jump_count = kept;
}

/* R2: frame, R3: its end. A frame shorter than `bytes` passes. */
static void need(struct assembler *a, int32_t bytes) {
  move(a, R4, R2);
  emit(a, BPF_ALU64 | BPF_ADD | BPF_K, R4, 0, 0, bytes);
  a->jumps[a->jump_count].at = a->count;
  a->jumps[a->jump_count++].to = PASS;
  emit(a, BPF_JMP | BPF_JGT | BPF_X, R4, R3, 0, 0);
}

/* Values as they stand in memory, so that they compare with what a load of the same size gives. */
static uint32_t word_at(const uint8_t *bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

static uint32_t half_at(const uint8_t *bytes) {
  uint16_t half;
  memcpy(&half, bytes, sizeof half);
  return half;
}

static void call(struct assembler *a, uint8_t kind, int32_t function) {
  emit(a, BPF_JMP | BPF_CALL, 0, kind, 0, function);
}

/* R6: context. Puts the time of arrival in front of the frame; where there is no room for it, the frame goes without. */
static void stamp(struct assembler *a, int32_t timestamp_function) {
  move(a, R1, R6);
  emit(a, BPF_ALU64 | BPF_MOV | BPF_K, R2, 0, 0, -STAMP_BYTES);
  call(a, 0, BPF_FUNC_xdp_adjust_meta);
  jump_unless(a, R0, 0, HAND_OVER);
  emit(a, BPF_ST | BPF_MEM | BPF_DW, R10, 0, -STAMP_BYTES, 0);
  move(a, R1, R6);
  move(a, R2, R10);
  emit(a, BPF_ALU64 | BPF_ADD | BPF_K, R2, 0, 0, -STAMP_BYTES);
  call(a, BPF_PSEUDO_KFUNC_CALL, timestamp_function);
  jump_if(a, R0, 0, STAMPED);
  emit(a, BPF_ST | BPF_MEM | BPF_DW, R10, 0, -STAMP_BYTES, 0);
  place(a, STAMPED);
  load(a, BPF_W, R2, R6, offsetof(struct xdp_md, data_meta));
  load(a, BPF_W, R3, R6, offsetof(struct xdp_md, data));
  need(a, STAMP_BYTES); /* the verifier wants to see it */
  load(a, BPF_DW, R0, R10, -STAMP_BYTES);
  emit(a, BPF_STX | BPF_MEM | BPF_DW, R2, R0, 0, 0);
  place(a, HAND_OVER);
}

static void assemble(struct assembler *a, const struct program_options *options, int map_fd) {
  move(a, R6, R1);
  load(a, BPF_W, R2, R1, offsetof(struct xdp_md, data));
  load(a, BPF_W, R3, R1, offsetof(struct xdp_md, data_end));
  need(a, ETHERNET_BYTES);
  load(a, BPF_H, R5, R2, AT_TYPE);
  jump_if(a, R5, htons(ETH_P_ARP), ARP);
  load(a, BPF_W, R0, R2, 0);
  jump_unless(a, R0, word_at(options->mac), MULTICAST);
  load(a, BPF_H, R0, R2, 4);
  jump_unless(a, R0, half_at(options->mac + 4), PASS);
  jump_if(a, R5, htons(ETH_P_IPV6), IPV6);
  jump_unless(a, R5, htons(ETH_P_IP), PASS);
  need(a, ETHERNET_BYTES + IPV4_BYTES);
  load(a, BPF_W, R0, R2, AT_IPV4_DESTINATION);
  jump_if(a, R0, word_at(options->ipv4), REDIRECT);
  jump_always(a, PASS);

  place(a, ARP);
  need(a, ETHERNET_BYTES + ARP_BYTES);
  load(a, BPF_W, R0, R2, AT_ARP_TARGET);
  jump_if(a, R0, word_at(options->ipv4), REDIRECT);
  jump_always(a, PASS);

  place(a, MULTICAST);
  jump_unless(a, R5, htons(ETH_P_IPV6), PASS);
  load(a, BPF_H, R0, R2, 0);
  jump_unless(a, R0, htons(0x3333), PASS); /* RFC 2464 7 */

  place(a, IPV6);
  need(a, ETHERNET_BYTES + IPV6_BYTES);
  for (uint32_t index = 0; index < options->ipv6_count; index++) {
    for (int16_t word = 0; word < 16; word += 4) {
      load(a, BPF_W, R0, R2, AT_IPV6_DESTINATION + word);
      jump_unless(a, R0, word_at(options->ipv6[index] + word), NEXT_ADDRESS);
    }
    jump_always(a, REDIRECT);
    place(a, NEXT_ADDRESS);
  }
  jump_always(a, PASS);

  place(a, REDIRECT);
  if (options->timestamp_function != 0) stamp(a, options->timestamp_function);
  load(a, BPF_W, R2, R6, offsetof(struct xdp_md, rx_queue_index));
  emit(a, BPF_LD | BPF_DW | BPF_IMM, R1, BPF_PSEUDO_MAP_FD, 0, map_fd);
  emit(a, 0, 0, 0, 0, 0); /* second half of the 64-bit load */
  emit(a, BPF_ALU64 | BPF_MOV | BPF_K, R3, 0, 0, XDP_PASS); /* for a queue without a socket */
  call(a, 0, BPF_FUNC_redirect_map);
  emit(a, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

  place(a, PASS);
  emit(a, BPF_ALU64 | BPF_MOV | BPF_K, R0, 0, 0, XDP_PASS);
  emit(a, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int bpf(enum bpf_cmd command, union bpf_attr *attributes, size_t bytes) {
  long result = syscall(__NR_bpf, command, attributes, bytes);
  return result < 0 ? -errno : (int)result;
}

static int create_map(uint32_t queues) {
  union bpf_attr attributes = {0};
  attributes.map_type = BPF_MAP_TYPE_XSKMAP;
  attributes.key_size = sizeof(uint32_t);
  attributes.value_size = sizeof(uint32_t);
  attributes.max_entries = queues;
  memcpy(attributes.map_name, "packrat", sizeof "packrat");
  return bpf(BPF_MAP_CREATE, &attributes, sizeof attributes);
}

static int load_program(const struct program_options *options, int map_fd) {
  struct assembler assembler = {.count = 0};
  assemble(&assembler, options, map_fd);
  union bpf_attr attributes = {0};
  attributes.prog_type = BPF_PROG_TYPE_XDP;
  attributes.expected_attach_type = BPF_XDP;
  attributes.insns = (uint64_t)(uintptr_t)assembler.code;
  attributes.insn_cnt = (uint32_t)assembler.count;
  attributes.license = (uint64_t)(uintptr_t)"Dual MIT/GPL";
  if (options->fragments) attributes.prog_flags |= BPF_F_XDP_HAS_FRAGS;
  if (options->timestamp_function != 0) {
    attributes.prog_flags |= BPF_F_XDP_DEV_BOUND_ONLY;
    attributes.prog_ifindex = options->ifindex;
  }
  memcpy(attributes.prog_name, "packrat", sizeof "packrat");
  int status = -EAGAIN;
  for (int round = 0; status == -EAGAIN && round < LOAD_ROUNDS_MAX; round++) {
    status = bpf(BPF_PROG_LOAD, &attributes, sizeof attributes);
  }
  return status;
}

static int attach(const struct program_options *options, int program_fd) {
  union bpf_attr attributes = {0};
  attributes.link_create.prog_fd = (uint32_t)program_fd;
  attributes.link_create.target_ifindex = options->ifindex;
  attributes.link_create.attach_type = BPF_XDP;
  attributes.link_create.flags = options->attach_flags;
  return bpf(BPF_LINK_CREATE, &attributes, sizeof attributes);
}

int program_open(struct program *program, const struct program_options *options, enum program_stage *stage) {
  *program = (struct program){-1, -1, -1};
  *stage = PROGRAM_MAP;
  int status = program->map_fd = create_map(options->queues);
  if (status >= 0) {
    *stage = PROGRAM_LOAD;
    status = program->program_fd = load_program(options, program->map_fd);
  }
  if (status >= 0) {
    *stage = PROGRAM_ATTACH;
    status = program->link_fd = attach(options, program->program_fd);
  }
  if (status < 0) program_close(program);
  return status < 0 ? status : 0;
}

int program_set_socket(struct program *program, uint32_t queue, int fd) {
  union bpf_attr attributes = {0};
  uint32_t value = (uint32_t)fd;
  attributes.map_fd = (uint32_t)program->map_fd;
  attributes.key = (uint64_t)(uintptr_t)&queue;
  attributes.value = (uint64_t)(uintptr_t)&value;
  return bpf(BPF_MAP_UPDATE_ELEM, &attributes, sizeof attributes);
}

void program_close(struct program *program) {
  if (program->link_fd >= 0) close(program->link_fd);
  if (program->program_fd >= 0) close(program->program_fd);
  if (program->map_fd >= 0) close(program->map_fd);
  *program = (struct program){-1, -1, -1};
}

int program_probe(void) {
  const struct program_options options = {.queues = 1};
  int map_fd = create_map(1);
  if (map_fd < 0) return map_fd;
  int program_fd = load_program(&options, map_fd);
  close(map_fd);
  if (program_fd < 0) return program_fd;
  close(program_fd);
  return 0;
}
