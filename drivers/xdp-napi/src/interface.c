/* What the kernel says of a network interface, by ioctl: index, MTU, address, whether it is up, receive queues, timestamps. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xdp.h"

/* Drivers without channels (ETHTOOL_GCHANNELS) have one queue. */
static int queues_of(int fd, struct ifreq *request) {
  struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
  request->ifr_data = (char *)&channels;
  if (ioctl(fd, SIOCETHTOOL, request) < 0) return 1;
  uint32_t queues = channels.rx_count + channels.combined_count;
  return queues < 1 ? 1 : queues > QUEUES_MAX ? QUEUES_MAX : (int)queues;
}

/* TCP's frames are among those that it stamps only if it stamps all. */
static int stamps_all(int fd, struct ifreq *request) {
  struct hwtstamp_config config = {0};
  request->ifr_data = (char *)&config;
  return ioctl(fd, SIOCGHWTSTAMP, request) == 0 && config.rx_filter == HWTSTAMP_FILTER_ALL;
}

int interface_read(const char *name, struct interface *interface) {
  struct ifreq request = {0};
  if (strlen(name) >= sizeof request.ifr_name) return -ENODEV;
  strcpy(request.ifr_name, name);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int status = 0;
  if (ioctl(fd, SIOCGIFINDEX, &request) < 0) status = -errno;
  interface->index = request.ifr_ifindex;
  if (status == 0 && ioctl(fd, SIOCGIFMTU, &request) < 0) status = -errno;
  interface->mtu = request.ifr_mtu;
  if (status == 0 && ioctl(fd, SIOCGIFFLAGS, &request) < 0) status = -errno;
  interface->up = (request.ifr_flags & IFF_UP) != 0;
  if (status == 0 && ioctl(fd, SIOCGIFHWADDR, &request) < 0) status = -errno;
  memcpy(interface->mac, request.ifr_hwaddr.sa_data, 6);
  if (status == 0) interface->queues = queues_of(fd, &request);
  if (status == 0) interface->stamps = stamps_all(fd, &request);
  close(fd);
  return status;
}
