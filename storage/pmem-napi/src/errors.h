/* Failures that native functions report: an errno value or one of our own, with the `code` JavaScript sees. */
#ifndef PMEM_ERRORS_H
#define PMEM_ERRORS_H

#include <errno.h>

/* Our own, above every errno. */
#define E_LOCKED 1001   /* another process holds the lock */
#define E_FILE_TYPE 1002 /* neither a regular file nor a DAX device */

#endif
