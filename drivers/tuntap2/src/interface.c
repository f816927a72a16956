/*
 * Opening and configuring a TAP interface, by ioctl only. Everything set here belongs to the kernel's side of the
 * link; the side that reads and writes frames has addresses of its own, which the kernel never learns from us.
 *
 * The interface is asked for its name before each operation (TUNGETIFF): whoever renames or deletes it meanwhile
 * does not make us configure another one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"

/* linux/ipv6.h's, which does not go together with the C library's headers. */
struct in6_ifreq {
  struct in6_addr ifr6_addr;
  uint32_t ifr6_prefixlen;
  int ifr6_ifindex;
};

/* Whole Ethernet frames, and nothing before them but with offloads a virtio_net_hdr. */
#define OPEN_FLAGS (IFF_TAP | IFF_NO_PI)

static int open_control(void) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static const unsigned long offload_flags[] = {
    [OFFLOAD_NONE] = 0,
    [OFFLOAD_CHECKSUM] = TUN_F_CSUM,
    [OFFLOAD_ALL] = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
};

/*
 * Whether a TAP could be created now; creates nothing. The kernel checks the permission before the type, so a
 * request without a type is answered by EPERM or, when all would be well, by EINVAL.
 */
int interface_probe(void) {
  struct ifreq request = {0};
  int fd = open_control();
  if (fd < 0) return fd;
  int status = ioctl(fd, TUNSETIFF, &request) < 0 && errno != EINVAL ? -errno : 0;
  close(fd);
  return status;
}

int interface_name(int fd, char name[IFNAMSIZ]) {
  struct ifreq request = {0};
  if (ioctl(fd, TUNGETIFF, &request) < 0) return errno == EBADFD ? -ENODEV : -errno;
  memcpy(name, request.ifr_name, IFNAMSIZ);
  name[IFNAMSIZ - 1] = 0;
  return 0;
}

int interface_set_persistent(int fd, bool persistent) {
  return ioctl(fd, TUNSETPERSIST, persistent ? 1L : 0L) < 0 ? -errno : 0;
}

/* An interface ioctl on the TAP. `request` gets its name; the caller has filled the rest. */
static int control(int fd, unsigned long operation, struct ifreq *request) {
  int status = interface_name(fd, request->ifr_name);
  if (status < 0) return status;
  int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket_fd < 0) return -errno;
  status = ioctl(socket_fd, operation, request) < 0 ? -errno : 0;
  close(socket_fd);
  return status;
}

/*
 * An interface that was up before it was opened gets its carrier now, and the kernel's side sends nothing until a work
 * queue of the kernel has taken note (linkwatch), whenever that comes to run: the answers to our first frames would be
 * lost. Asking for the state of the link makes a recent kernel take note at once; an older one only answers.
 */
static void settle(int fd) {
  struct ethtool_value link = {.cmd = ETHTOOL_GLINK};
  struct ifreq request = {.ifr_data = (char *)&link};
  control(fd, SIOCETHTOOL, &request);
}

/* Creates the TAP, or takes over one of this name that nobody holds, with what it was allowed then. Returns its descriptor. */
int interface_open(const char *name, enum offload offload) {
  struct ifreq request = {0};
  int header_bytes = sizeof(struct virtio_net_hdr);
  if (strlen(name) >= sizeof request.ifr_name) return -EINVAL;
  strcpy(request.ifr_name, name);
  request.ifr_flags = offload == OFFLOAD_NONE ? OPEN_FLAGS : OPEN_FLAGS | IFF_VNET_HDR;
  int fd = open_control();
  if (fd < 0) return fd;
  if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETOFFLOAD, offload_flags[offload]) < 0 ||
      (offload != OFFLOAD_NONE && ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) < 0)) {
    int error = errno;
    close(fd);
    return -error;
  }
  settle(fd);
  return fd;
}

int interface_get_mac(int fd, uint8_t mac[6]) {
  struct ifreq request = {0};
  int status = control(fd, SIOCGIFHWADDR, &request);
  if (status == 0) memcpy(mac, request.ifr_hwaddr.sa_data, 6);
  return status;
}

int interface_set_mac(int fd, const uint8_t mac[6]) {
  struct ifreq request = {0};
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  memcpy(request.ifr_hwaddr.sa_data, mac, 6);
  return control(fd, SIOCSIFHWADDR, &request);
}

int interface_get_mtu(int fd) {
  struct ifreq request = {0};
  int status = control(fd, SIOCGIFMTU, &request);
  return status < 0 ? status : request.ifr_mtu;
}

int interface_set_mtu(int fd, uint32_t mtu) {
  struct ifreq request = {0};
  if (mtu > INT32_MAX) return -EINVAL;
  request.ifr_mtu = (int)mtu;
  return control(fd, SIOCSIFMTU, &request);
}

int interface_get_queue_length(int fd) {
  struct ifreq request = {0};
  int status = control(fd, SIOCGIFTXQLEN, &request);
  return status < 0 ? status : request.ifr_qlen;
}

int interface_set_queue_length(int fd, uint32_t frames) {
  struct ifreq request = {0};
  if (frames > INT32_MAX) return -EINVAL;
  request.ifr_qlen = (int)frames;
  return control(fd, SIOCSIFTXQLEN, &request);
}

int interface_get_up(int fd) {
  struct ifreq request = {0};
  int status = control(fd, SIOCGIFFLAGS, &request);
  return status < 0 ? status : (request.ifr_flags & IFF_UP) != 0;
}

int interface_set_up(int fd, bool up) {
  struct ifreq request = {0};
  int status = control(fd, SIOCGIFFLAGS, &request);
  if (status < 0) return status;
  if (up) request.ifr_flags |= IFF_UP;
  else request.ifr_flags &= ~IFF_UP;
  return control(fd, SIOCSIFFLAGS, &request);
}

static uint32_t prefix_of(const uint8_t *mask, size_t bytes) {
  uint32_t prefix = 0;
  while (prefix < bytes * 8 && (mask[prefix / 8] & (0x80 >> prefix % 8)) != 0) prefix++;
  return prefix;
}

static const void *address_of(const struct sockaddr *address) {
  return address->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                                       : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
}

/* Link-local addresses are the kernel's own doing and are passed over. */
static bool is_ours(const struct ifaddrs *entry, const char *name, int family) {
  if (entry->ifa_addr == NULL || entry->ifa_netmask == NULL) return false;
  if (entry->ifa_addr->sa_family != family || strcmp(entry->ifa_name, name) != 0) return false;
  return family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)address_of(entry->ifa_addr));
}

int interface_get_address(int fd, int family, char text[ADDRESS_TEXT_BYTES]) {
  char name[IFNAMSIZ];
  int status = interface_name(fd, name);
  if (status < 0) return status;
  struct ifaddrs *list;
  if (getifaddrs(&list) < 0) return -errno;
  text[0] = 0;
  for (const struct ifaddrs *entry = list; entry != NULL; entry = entry->ifa_next) {
    if (!is_ours(entry, name, family)) continue;
    char address[INET6_ADDRSTRLEN];
    inet_ntop(family, address_of(entry->ifa_addr), address, sizeof address);
    uint32_t prefix = prefix_of(address_of(entry->ifa_netmask), family == AF_INET ? 4 : 16);
    snprintf(text, ADDRESS_TEXT_BYTES, "%s/%u", address, prefix);
    break;
  }
  freeifaddrs(list);
  return 0;
}

static int set_ipv4(int fd, struct in_addr address, uint32_t prefix) {
  struct ifreq request = {0};
  struct sockaddr_in *value = (struct sockaddr_in *)&request.ifr_addr;
  value->sin_family = AF_INET;
  value->sin_addr = address;
  int status = control(fd, SIOCSIFADDR, &request);
  if (status < 0) return status;
  value->sin_family = AF_INET;
  value->sin_addr.s_addr = prefix == 0 ? 0 : htonl(UINT32_MAX << (32 - prefix));
  return control(fd, SIOCSIFNETMASK, &request);
}

/* An interface has many IPv6 addresses; setting one replaces all but the link-local. */
static int set_ipv6(int fd, const struct in6_addr *address, uint32_t prefix) {
  char name[IFNAMSIZ];
  int status = interface_name(fd, name);
  if (status < 0) return status;
  int socket_fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket_fd < 0) return -errno;
  struct ifaddrs *list;
  if (getifaddrs(&list) < 0) {
    status = -errno;
    close(socket_fd);
    return status;
  }
  struct in6_ifreq request = {.ifr6_ifindex = (int)if_nametoindex(name)};
  for (const struct ifaddrs *entry = list; entry != NULL && status == 0; entry = entry->ifa_next) {
    if (!is_ours(entry, name, AF_INET6)) continue;
    memcpy(&request.ifr6_addr, address_of(entry->ifa_addr), sizeof request.ifr6_addr);
    request.ifr6_prefixlen = prefix_of(address_of(entry->ifa_netmask), 16);
    if (ioctl(socket_fd, SIOCDIFADDR, &request) < 0) status = -errno;
  }
  freeifaddrs(list);
  if (status == 0) {
    request.ifr6_addr = *address;
    request.ifr6_prefixlen = prefix;
    if (ioctl(socket_fd, SIOCSIFADDR, &request) < 0) status = -errno;
  }
  close(socket_fd);
  return status;
}

int interface_set_address(int fd, int family, const char *address, uint32_t prefix) {
  if (family == AF_INET) {
    struct in_addr value;
    if (prefix > 32 || inet_pton(AF_INET, address, &value) != 1) return -EINVAL;
    return set_ipv4(fd, value, prefix);
  }
  struct in6_addr value;
  if (prefix > 128 || inet_pton(AF_INET6, address, &value) != 1) return -EINVAL;
  return set_ipv6(fd, &value, prefix);
}
