/**
 * packetdrill's own options, in a script (`--mtu=1400` before the first event) and on the command line, where they stand
 * above the script's. One that is not here makes a script unsupported.
 *
 * Called by: packetdrill.ts (flags), run-script.ts (what a script says).
 */

/** What each means, for people. */
export const SCRIPT_OPTIONS: Readonly<Record<string, string>> = {
  ip_version: 'ipv4, ipv6 or ipv4-mapped-ipv6',
  local_ip: 'address of the stack',
  remote_ip: 'address of its peer',
  mtu: 'of the link, bytes',
  mss: 'size of the segments of an injected packet that is larger, bytes',
  tolerance_usecs: 'by which a packet or call may be early or late',
  tcp_ts_tick_usecs: 'tick of timestamps; without it their values are not compared',
  tcp_ts_ecr_scaled: 'echoes of timestamps are taken by their distance from the first, not as the packets had them',
  init_scripts: 'defaults.sh, which is known by name',
  gateway_ip: 'changes nothing',
  netmask_ip: 'changes nothing',
  bind_port: 'changes nothing',
  connect_port: 'changes nothing',
  speed: 'changes nothing',
  tolerance_percent: 'the same, of the time since the event before; the larger of the two counts',
  non_fatal: 'changes nothing',
  verbose: 'changes nothing',
  send_omit_free: 'changes nothing: what is sent is never reused',
  strict_segments: 'changes nothing: there is no segmentation offload',
}
