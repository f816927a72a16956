/**
 * Words that the runners of scripts define on packetdrill's command line (`-D NAME=VALUE`) and scripts use without saying
 * what they are: replaced in the text, as packetdrill does.
 *
 * Called by: parse-script.ts.
 */

/** Fast Open cookies of the peer's address under the key of `defaults.sh`, and under a key of zeros. */
const IPV4_WORDS: Readonly<Record<string, string>> = {
  TFO_COOKIE: '3021b9d889017eeb',
  TFO_COOKIE_ZERO: 'b7c12350a90dc8f5',
  CMSG_LEVEL_IP: 'SOL_IP',
  CMSG_TYPE_RECVERR: 'IP_RECVERR',
}
const IPV6_WORDS: Readonly<Record<string, string>> = {
  TFO_COOKIE: 'c1d1e9742a47a9bc',
  TFO_COOKIE_ZERO: '82af1a8f9a205c34',
  CMSG_LEVEL_IP: 'SOL_IPV6',
  CMSG_TYPE_RECVERR: 'IPV6_RECVERR',
}
const IPV6_SCRIPT = /^\s*--ip_version=ipv6\s*$/m
const WORD = /\b(?:TFO_COOKIE|TFO_COOKIE_ZERO|CMSG_LEVEL_IP|CMSG_TYPE_RECVERR)\b/g

export function replaceDefines(text: string): string {
  const words = IPV6_SCRIPT.test(text) ? IPV6_WORDS : IPV4_WORDS
  return text.replace(WORD, (word) => words[word]!)
}
