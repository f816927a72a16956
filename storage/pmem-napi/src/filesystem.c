/*
 * File systems by magic number (statfs(2), linux/magic.h), and the size of devdax devices, whose st_size is 0
 * (Documentation/ABI/testing/sysfs-bus-dax; /sys/dev/char/MAJOR:MINOR is the device's sysfs folder).
 */
#include "filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

static const struct {
  uint32_t magic;
  const char *name;
} table[] = {
    {0xef53, "ext4"}, /* ext2 and ext3 have the same number and the same driver */
    {0x58465342, "xfs"},
    {BTRFS_MAGIC, "btrfs"},
    {0xf2f52010, "f2fs"},
    {0x2fc12fc1, "zfs"},
    {0xca451a4e, "bcachefs"},
    {0x794c7630, "overlay"},
    {0x01021994, "tmpfs"},
    {0x858458f6, "ramfs"},
    {HUGETLBFS_MAGIC, "hugetlbfs"},
    {0x6969, "nfs"},
    {0xff534d42, "cifs"},
    {0xfe534d42, "smb2"},
    {0x517b, "smb"},
    {0x00c36400, "ceph"},
    {0x5346414f, "afs"},
    {0x73757245, "coda"},
    {0x01021997, "9p"},
    {0x65735546, "fuse"},
    {0x786f4256, "vboxsf"},
    {0x0bd00bd0, "lustre"},
    {0x4d44, "msdos"},
    {0x2011bab0, "exfat"},
    {0x7366746e, "ntfs3"},
    {0x62656572, "sysfs"},
    {0x9fa0, "proc"},
    {0x64646178, "devdax"}, /* fs/dax: the pseudo file system under DAX inodes */
};

const char *filesystem_name(uint64_t magic) {
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (table[i].magic == (uint32_t)magic) return table[i].name;
  return "unknown";
}

bool filesystem_magic(int fd, uint64_t *magic) {
  struct statfs info;
  while (fstatfs(fd, &info) != 0)
    if (errno != EINTR) return false;
  /* f_type is a signed long that sign-extends 0xff534d42 on some architectures. */
  *magic = (uint32_t)info.f_type;
  return true;
}

bool dax_device_bytes(dev_t device, uint64_t *bytes) {
  char path[64];
  char target[PATH_MAX];
  snprintf(path, sizeof path, "/sys/dev/char/%u:%u/subsystem", major(device), minor(device));
  ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) return false;
  target[length] = 0;
  const char *subsystem = strrchr(target, '/');
  if (!subsystem || strcmp(subsystem, "/dax") != 0) return false;

  snprintf(path, sizeof path, "/sys/dev/char/%u:%u/size", major(device), minor(device));
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[32];
  length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return false;
  text[length] = 0;
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || end == text || value == 0) return false;
  *bytes = value;
  return true;
}
