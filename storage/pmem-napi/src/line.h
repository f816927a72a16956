/* What a commit word says about its line. */
#ifndef PMEM_LINE_H
#define PMEM_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "region.h"

enum line_status { LINE_FREE, LINE_VALID, LINE_INVALID };

/* CRC of the line as it would stand with this state word; false if a head's key view is not inside its buffer. */
bool line_crc(const struct region *region, uint32_t meta, const struct line *line, uint32_t state, uint32_t *crc);
enum line_status line_verify(const struct region *region, uint32_t meta, const struct line *line);
/* The bytes of the line's data view, or NULL if it is not inside its buffer. */
const uint8_t *line_data(const struct region *region, const struct line *line, uint32_t *length);

#endif
