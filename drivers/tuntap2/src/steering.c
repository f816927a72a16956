/*
 * Receive packet steering (Linux Documentation/networking/scaling.rst): on which processors the kernel takes in the
 * frames that we write. A file of sysfs, and the only one, says so: class/net/NAME/queues/rx-0/rps_cpus.
 *
 * /sys may show another network namespace than the TAP is in, with another interface of the same name. So sysfs is
 * mounted anew, where nobody sees it: a mount that hangs on a descriptor (fsopen(2), fsmount(2)), shows the namespace of
 * this thread, and goes with the descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tap.h"

/* linux/mount.h's, which does not go together with the C library's sys/mount.h, and is younger than some of them. */
#define FSCONFIG_CREATE 6
#define FSMOUNT_CLOSE_ON_EXEC 1
#define FSOPEN_CLOSE_ON_EXEC 1

#if defined(SYS_fsopen) && defined(SYS_fsconfig) && defined(SYS_fsmount)
static int mount_sysfs(void) {
  int context = (int)syscall(SYS_fsopen, "sysfs", FSOPEN_CLOSE_ON_EXEC);
  if (context < 0) return -errno;
  int mount = -1;
  if (syscall(SYS_fsconfig, context, FSCONFIG_CREATE, NULL, NULL, 0) == 0)
    mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOSE_ON_EXEC, 0);
  int error = errno;
  close(context);
  return mount < 0 ? -error : mount;
}
#else
static int mount_sysfs(void) {
  return -ENOSYS;
}
#endif

static int open_mask(int fd, int flags) {
  char name[IFNAMSIZ];
  char path[64 + IFNAMSIZ];
  int status = interface_name(fd, name);
  if (status < 0) return status;
  int mount = mount_sysfs();
  if (mount < 0) return mount;
  snprintf(path, sizeof path, "class/net/%s/queues/rx-0/rps_cpus", name);
  int file = openat(mount, path, flags | O_CLOEXEC);
  int error = errno;
  close(mount);
  return file < 0 ? -error : file;
}

int steering_get(int fd, char text[STEERING_TEXT_BYTES]) {
  int file = open_mask(fd, O_RDONLY);
  if (file < 0) return file;
  ssize_t length = read(file, text, STEERING_TEXT_BYTES - 1);
  int error = errno;
  close(file);
  if (length < 0) return -error;
  text[length] = 0;
  text[strcspn(text, "\n")] = 0;
  return 0;
}

int steering_set(int fd, const char *text) {
  int file = open_mask(fd, O_WRONLY);
  if (file < 0) return file;
  ssize_t length = write(file, text, strlen(text));
  int error = errno;
  close(file);
  return length < 0 ? -error : 0;
}
