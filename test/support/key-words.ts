/** What a scan takes down of keys, computed slowly. */
import { KEY_WORDS, sortableKeyWord } from '../../storage/key.ts'

/** The first words of each key, one key behind the other. */
export function sortableKeyWords(keys: readonly Uint8Array[]): Int32Array {
  const at = [...Array(KEY_WORDS).keys()].map((word) => 4 * word)
  return Int32Array.from(keys.flatMap((key) => at.map((offset) => sortableKeyWord(key, 0, key.length, offset))))
}
