/*
 * Creation, publication and locking of the file behind a region.
 *
 * Called by file-binding.c and region.c. A file appears under its own name only when it is whole:
 *
 *   PATH.creating   created, locked, every byte allocated, filled by the caller
 *   publish         fsync the file, rename to PATH unless PATH exists, fsync the directory
 *
 * Invariants:
 *  1. Whoever holds the lock of PATH.creating may truncate or remove it; nobody else touches it. A lock counts
 *     only after the name has been seen to lead to the locked file still.
 *  2. A file is never sparse: a store into a hole of a full file system would raise SIGBUS.
 *  3. Names are resolved against the directory that was opened first, so a later chdir or a renamed parent
 *     changes nothing.
 */
#include "file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "errors.h"
#include "filesystem.h"

/* Between open and lock a racing creator may finish or give up; then the name is looked up again. */
#define LOCK_ATTEMPTS_MAX 16
#define CREATING_SUFFIX ".creating"

static bool fail(struct failure *why, int error, const char *doing) {
  why->error = error;
  why->doing = doing;
  return false;
}

static void file_reset(struct file *file) {
  if (file->fd >= 0) close(file->fd);
  if (file->directory >= 0) close(file->directory);
  free(file->name);
  free(file->temporary);
  memset(file, 0, sizeof *file);
  file->fd = -1;
  file->directory = -1;
}

static bool lock(int fd, bool exclusive, struct failure *why) {
  while (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    return fail(why, errno == EWOULDBLOCK ? E_LOCKED : errno, "lock");
  }
  return true;
}

/* Does the name still lead to the file behind the descriptor? */
static bool same_file(int directory, const char *name, int fd) {
  struct stat by_name, by_fd;
  return fstatat(directory, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &by_fd) == 0 &&
         by_name.st_dev == by_fd.st_dev && by_name.st_ino == by_fd.st_ino;
}

/* Splits the path, opens its directory, and allocates both names. */
static bool open_directory(struct file *file, const char *path, struct failure *why) {
  const char *slash = strrchr(path, '/');
  const char *name = slash ? slash + 1 : path;
  if (*name == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return fail(why, E_FILE_TYPE, "create");
  char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  file->name = strdup(name);
  file->temporary = malloc(strlen(name) + sizeof CREATING_SUFFIX);
  if (!parent || !file->name || !file->temporary) {
    free(parent);
    return fail(why, ENOMEM, "create");
  }
  sprintf(file->temporary, "%s%s", name, CREATING_SUFFIX);
  file->directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int error = errno;
  free(parent);
  return file->directory >= 0 || fail(why, error, "open the directory of");
}

/* Opens and locks PATH.creating, new or left over (invariant 1). */
static bool open_temporary(struct file *file, mode_t mode, struct failure *why) {
  for (int attempt = 0; attempt < LOCK_ATTEMPTS_MAX; attempt++) {
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = openat(file->directory, file->temporary, flags | O_CREAT | O_EXCL, mode);
    if (fd < 0 && errno == EEXIST) fd = openat(file->directory, file->temporary, flags);
    if (fd < 0) {
      if (errno == ENOENT || errno == EINTR) continue;
      return fail(why, errno == ELOOP ? E_FILE_TYPE : errno, "create");
    }
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      close(fd);
      return fail(why, E_FILE_TYPE, "create");
    }
    if (!lock(fd, true, why)) {
      close(fd);
      return false;
    }
    if (same_file(file->directory, file->temporary, fd)) {
      file->fd = fd;
      return true;
    }
    close(fd);
  }
  return fail(why, E_LOCKED, "create");
}

/* Allocates every byte of a range. Signals wait meanwhile: tmpfs gives up and starts anew on each one. */
static int allocate(int fd, uint64_t offset, uint64_t bytes) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int result;
  do {
    result = fallocate(fd, 0, (off_t)offset, (off_t)bytes);
  } while (result != 0 && errno == EINTR);
  int error = result == 0 ? 0 : errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

/* btrfs would write each overwritten page to a newly allocated place, which can fail on a full disk: turn that off. */
static void disable_copy_on_write(int fd) {
  uint64_t magic;
  int flags;
  if (!filesystem_magic(fd, &magic) || magic != BTRFS_MAGIC) return;
  if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static bool on_hugetlbfs(int fd) {
  uint64_t magic;
  return filesystem_magic(fd, &magic) && magic == HUGETLBFS_MAGIC;
}

bool file_create(struct file *file, const char *path, uint64_t bytes, mode_t mode, struct failure *why) {
  memset(file, 0, sizeof *file);
  file->fd = -1;
  file->directory = -1;
  if (!open_directory(file, path, why)) goto failed;
  struct stat info;
  if (fstatat(file->directory, file->name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
    fail(why, EEXIST, "create");
    goto failed;
  }
  if (!open_temporary(file, mode, why)) goto failed;

  int error = 0;
  if (ftruncate(file->fd, 0) != 0 || fchmod(file->fd, mode) != 0) error = errno;
  if (error == 0) {
    disable_copy_on_write(file->fd);
    file->memory_only = on_hugetlbfs(file->fd);
    error = allocate(file->fd, 0, bytes);
  }
  if (error == 0 && (fstat(file->fd, &info) != 0 || (uint64_t)info.st_size != bytes)) error = EIO;
  if (error != 0) {
    unlinkat(file->directory, file->temporary, 0);
    fail(why, error, "allocate");
    goto failed;
  }
  file->bytes = bytes;
  file->writable = true;
  return true;
failed:
  file_reset(file);
  return false;
}

/* Renames without replacing. Where the file system cannot, a hard link refuses an existing name just as well. */
static int rename_new(int directory, const char *from, const char *to) {
  if (syscall(SYS_renameat2, directory, from, directory, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (linkat(directory, from, directory, to, 0) != 0) return errno;
  return unlinkat(directory, from, 0) == 0 ? 0 : errno;
}

/* Tried once: after a failed sync the kernel may have dropped the dirty pages, and a second one would succeed without them. */
static int sync_descriptor(int fd, bool data_only) { return (data_only ? fdatasync(fd) : fsync(fd)) == 0 ? 0 : errno; }

bool file_publish(struct file *file, struct failure *why) {
  if (!file->temporary) return fail(why, EINVAL, "publish");
  int error = sync_descriptor(file->fd, false);
  if (error != 0) return fail(why, error, "sync");
  error = rename_new(file->directory, file->temporary, file->name);
  if (error != 0) return fail(why, error, "publish");
  /* The name is out: from here on the file is never removed, whatever the directory's sync says. */
  free(file->temporary);
  file->temporary = NULL;
  error = sync_descriptor(file->directory, false);
  close(file->directory);
  file->directory = -1;
  return error == 0 || fail(why, error, "sync the directory of");
}

bool file_open(struct file *file, const char *path, bool writable, bool exclusive, struct failure *why) {
  memset(file, 0, sizeof *file);
  file->fd = -1;
  file->directory = -1;
  /* Looked at before it is opened, because opening some devices has effects; and again afterwards. */
  struct stat info;
  if (stat(path, &info) != 0) return fail(why, errno, "open");
  if (!S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode)) return fail(why, E_FILE_TYPE, "open");
  if (S_ISCHR(info.st_mode) && !dax_device_bytes(info.st_rdev, &file->bytes)) return fail(why, E_FILE_TYPE, "open");

  do {
    file->fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  } while (file->fd < 0 && errno == EINTR);
  if (file->fd < 0) return fail(why, errno, "open");
  if (!lock(file->fd, exclusive, why)) goto failed;
  if (fstat(file->fd, &info) != 0) {
    fail(why, errno, "open");
    goto failed;
  }
  if (S_ISREG(info.st_mode)) {
    file->bytes = (uint64_t)info.st_size;
    file->memory_only = on_hugetlbfs(file->fd);
  } else if (S_ISCHR(info.st_mode) && dax_device_bytes(info.st_rdev, &file->bytes)) {
    file->device = true;
    file->memory_only = true;
  } else {
    fail(why, E_FILE_TYPE, "open");
    goto failed;
  }
  file->writable = writable;
  return true;
failed:
  file_reset(file);
  return false;
}

void file_close(struct file *file) {
  if (file->temporary) unlinkat(file->directory, file->temporary, 0);
  file_reset(file);
}

bool file_read(const struct file *file, uint64_t offset, void *to, size_t bytes, struct failure *why) {
  for (size_t done = 0; done < bytes;) {
    ssize_t got = pread(file->fd, (char *)to + done, bytes - done, (off_t)(offset + done));
    if (got > 0) done += (size_t)got;
    else if (got == 0) return fail(why, ERANGE, "read past the end of");
    else if (errno != EINTR) return fail(why, errno, "read");
  }
  return true;
}

bool file_write(const struct file *file, uint64_t offset, const void *from, size_t bytes, struct failure *why) {
  for (size_t done = 0; done < bytes;) {
    ssize_t put = pwrite(file->fd, (const char *)from + done, bytes - done, (off_t)(offset + done));
    if (put > 0) done += (size_t)put;
    else if (put == 0) return fail(why, EIO, "write");
    else if (errno != EINTR) return fail(why, errno, "write");
  }
  return true;
}

bool file_resize(struct file *file, uint64_t bytes, struct failure *why) {
  if (file->memory_only) return fail(why, ENOTSUP, "resize");
  int error = 0;
  if (bytes > file->bytes) {
    error = allocate(file->fd, file->bytes, bytes - file->bytes);
    /* Some file systems leave what they did allocate before they ran out. */
    if (error != 0 && ftruncate(file->fd, (off_t)file->bytes) != 0) error = errno;
  } else if (ftruncate(file->fd, (off_t)bytes) != 0) {
    error = errno;
  }
  if (error != 0) return fail(why, error, "resize");
  file->bytes = bytes;
  return true;
}

bool file_sync(const struct file *file, struct failure *why) {
  int error = sync_descriptor(file->fd, true);
  return error == 0 || fail(why, error, "sync");
}
