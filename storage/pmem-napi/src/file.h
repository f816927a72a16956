/* The file or device behind a region: creation, publication, locking, length. */
#ifndef PMEM_FILE_H
#define PMEM_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct file {
  int fd;          /* -1: closed */
  int directory;   /* the parent directory while the file is unpublished, else -1 */
  char *name;      /* name inside `directory` while unpublished */
  char *temporary; /* its `.creating` name */
  uint64_t bytes;
  bool device;      /* DAX character device */
  bool memory_only; /* no write calls: a DAX device, or hugetlbfs; bytes go through the mapping */
  bool writable;
};

/* What failed: a static verb phrase for the message beside the error number. */
struct failure {
  int error; /* errno or E_*; 0: none */
  const char *doing;
};

/* All return false and fill `why` on failure, having closed and removed what they made. */
bool file_create(struct file *file, const char *path, uint64_t bytes, mode_t mode, struct failure *why);
bool file_publish(struct file *file, struct failure *why);
bool file_open(struct file *file, const char *path, bool writable, bool exclusive, struct failure *why);
/* Closes; an unpublished file is removed. */
void file_close(struct file *file);

bool file_read(const struct file *file, uint64_t offset, void *to, size_t bytes, struct failure *why);
bool file_write(const struct file *file, uint64_t offset, const void *from, size_t bytes, struct failure *why);
/*
 * A longer file gets every new byte allocated, and they read as 0; on failure it has its old length. Only for files that
 * are written by calls.
 */
bool file_resize(struct file *file, uint64_t bytes, struct failure *why);
bool file_sync(const struct file *file, struct failure *why);

#endif
