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
/* Asks for the first bytes of a head's key, whatever the line is. */
void line_prefetch_key(const struct region *region, const struct line *line);
/* Whether the key of one head comes before that of another; false also if a key view is not inside its buffer. */
bool line_precedes(const struct region *region, const struct line *first, const struct line *second);
/* The bytes of the line's data view, or NULL if it is not inside its buffer. */
const uint8_t *line_data(const struct region *region, const struct line *line, uint32_t *length);

#endif
