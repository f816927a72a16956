/* What a file descriptor stands on. */
#ifndef PMEM_FILESYSTEM_H
#define PMEM_FILESYSTEM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BTRFS_MAGIC 0x9123683eu
#define HUGETLBFS_MAGIC 0x958458f6u

/* Name of a file system by its statfs magic number; "unknown" if it is not in the table. */
const char *filesystem_name(uint64_t magic);
/* Magic number of the file system that holds the descriptor; false with errno set. */
bool filesystem_magic(int fd, uint64_t *magic);
/* Length of the DAX character device of that number, from sysfs. False: not a DAX device. */
bool dax_device_bytes(dev_t device, uint64_t *bytes);

#endif
