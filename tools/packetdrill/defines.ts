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
const WORD = /\b[A-Za-z_]\w*\b/g

/**
 * @param options of the command line: they may say which version the script is of
 * @param defines of the command line: they stand above the usual ones
 */
export function replaceDefines(
  text: string,
  options: ReadonlyMap<string, string>,
  defines: ReadonlyMap<string, string>,
): string {
  const version = options.get('ip_version')
  const isIpv6 = version === undefined ? IPV6_SCRIPT.test(text) : version === 'ipv6'
  const words = new Map([...Object.entries(isIpv6 ? IPV6_WORDS : IPV4_WORDS), ...defines])
  return text.replace(WORD, (word) => words.get(word) ?? word)
}
