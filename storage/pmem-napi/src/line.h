/* What a commit word says about its line. */
#ifndef PMEM_LINE_H
#define PMEM_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "region.h"

/* LINE_WHOLE, of a scan only: a valid head that is an entry without any other line. */
enum line_status { LINE_FREE, LINE_VALID, LINE_INVALID, LINE_WHOLE };

/* What a scan takes down of a line, and what it counts (storage/persistence.ts). */
#define KEY_WORDS 4u
enum digest_word { DIGEST_LINK, DIGEST_KEY, DIGEST_WORDS = DIGEST_KEY + KEY_WORDS };
enum tally_word { TALLY_COMMITTED, TALLY_OTHERS, TALLY_VERSION_LOW, TALLY_VERSION_HIGH, TALLY_WORDS };

/* CRC of the line as it would stand with this state word; false if a head's key view is not inside its buffer. */
bool line_crc(const struct region *region, uint32_t meta, const struct line *line, uint32_t state, uint32_t *crc);
enum line_status line_verify(const struct region *region, uint32_t meta, const struct line *line);
/* Asks for the first bytes of a head's key, whatever the line is. */
void line_prefetch_key(const struct region *region, const struct line *line);
/* FNV-1a of the key with its upper bits folded into the lower ones, as in storage/key.ts; of nothing if the key view is not inside its buffer. */
uint32_t line_key_hash(const struct region *region, const struct line *line);
/* The key's first bytes as big-endian words, padded with zeros, their top bits flipped so that they compare as signed. */
void line_key_words(const struct region *region, const struct line *line, uint32_t count, int32_t *words);
/* Whether a valid head has neither fragments nor a batch, and all of its value in one view inside its buffer. */
bool line_is_whole(const struct region *region, const struct line *line);
/* The bytes of the line's data view, or NULL if it is not inside its buffer. */
const uint8_t *line_data(const struct region *region, const struct line *line, uint32_t *length);

#endif
