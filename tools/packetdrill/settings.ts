/**
 * What a script's set-up says, as options of the stack: Linux's sysctls and routes by name. A setting that the stack
 * does not have is accepted only with the value that describes what the stack does; else the script is unsupported.
 *
 * `defaults.sh`, which nearly every script runs, is known by its name and not executed: its settings are Linux's common
 * ones. Called by: commands.ts, run-script.ts.
 */
import type { TcpOptions } from '../../stack/host-options.ts'
import { setKnob } from '../../stack/tcp/knobs.ts'
import { type IpVersion, ScriptAddresses } from './addresses.ts'

/** Bytes: what `defaults.sh` says of tcp_rmem and tcp_wmem, and what scripts without it expect, too. */
const RECEIVE_MAX = 15 << 20
const SEND_MAX = 4 << 20
const SCRIPTS_SYN_RETRIES = 5
/** Since Linux 6.5. */
const KERNEL_SYN_LINEAR_TIMEOUTS = 4
const SCRIPTS_FAST_OPEN_KEY = 'a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4'
/* tcp_fastopen. Higher bits are those of old kernels, and mean nothing to today's. */
const FAST_OPEN_BITS = 0x7ff
const FAST_OPEN_BOTH_SIDES = 3
const FAST_OPEN_UNASKED = 0x400

export class Settings {
  /** Told of a setting that has changed while the script runs, and when old metrics are to be forgotten. */
  onChange: () => void = () => {}
  onFlush: () => void = () => {}
  /** What the packets of the script are. */
  ipVersion: IpVersion = 4
  /** What its sockets are: IPv6 ones may speak IPv4, too (mapped addresses). */
  socketVersion: IpVersion = 4
  /** Lengths of the files that commands have made, by name. */
  readonly files = new Map<string, number>()
  readonly addresses = { 4: new ScriptAddresses(4), 6: new ScriptAddresses(6) } as const
  mtu = 1500
  /** Where the kernel's own default differs from the stack's, it is the kernel's. */
  readonly tcp: TcpOptions = {
    mtuProbing: 'off',
    synLinearTimeouts: KERNEL_SYN_LINEAR_TIMEOUTS,
    windowProbeBytes: 0,
  }
  /** Whether listeners have Fast Open without having asked for it (tcp_fastopen 0x400). */
  fastOpenUnasked = false
  /** Largest receive buffer: what the window scale is made for. */
  receiveMaxBytes = RECEIVE_MAX
  sendMaxBytes = SEND_MAX
  /** The middle one of tcp_wmem, if the script says it: send buffers begin so large; 0: not said. */
  sendStartBytes = 0

  /**
   * One setting by its name below net.ipv4.
   * @returns false if the stack cannot do that
   */
  apply(name: string, value: string): boolean {
    const text = value.trim().replace(/\s+/g, ' ')
    if (name === 'tcp_rmem' || name === 'tcp_wmem') {
      const [, start, most] = text.split(' ').map(Number)
      if (name === 'tcp_rmem') this.receiveMaxBytes = most!
      else {
        this.sendStartBytes = start!
        this.sendMaxBytes = most!
      }
      return most! > 0
    }
    if (name === 'tcp_fastopen') return this.setFastOpen(Number(text))
    const outcome = setKnob(this.tcp, name, text)
    if (outcome !== 'unknown') return outcome === 'set'
    const fixed = Object.hasOwn(FIXED, name) ? FIXED[name]! : []
    return fixed === ANY || fixed.includes(text)
  }

  /**
   * What `defaults.sh` sets beyond the kernel's own defaults.
   * @param unasked whether it switches Fast Open on for all listeners: Google's does, the one in Linux does not
   */
  applyScriptDefaults(unasked: boolean): void {
    this.setFastOpen(unasked ? FAST_OPEN_BOTH_SIDES | FAST_OPEN_UNASKED : FAST_OPEN_BOTH_SIDES)
    setKnob(this.tcp, 'tcp_fastopen_key', SCRIPTS_FAST_OPEN_KEY)
    this.tcp.ecn = 0
    this.tcp.slowStartAfterIdle = false
    this.tcp.synRetries = SCRIPTS_SYN_RETRIES
  }

  private setFastOpen(bits: number): boolean {
    this.fastOpenUnasked = (bits & FAST_OPEN_UNASKED) !== 0
    return setKnob(this.tcp, 'tcp_fastopen', String(bits & FAST_OPEN_BITS)) === 'set'
  }
}

/** Settings that are fixed when the host is made. */
export const FIXED_AT_START = new Set([
  'tcp_rmem',
  'tcp_wmem',
  'tcp_congestion_control',
  'tcp_early_retrans',
  'tcp_fastopen_key',
  'tcp_frto',
  'tcp_max_tw_buckets',
  'tcp_mtu_probing',
  'tcp_recovery',
])

/** Any value: it changes nothing that a script can see of this stack. */
const ANY = null

/** Settings that the stack does not have, and the values that describe it. */
const FIXED: Readonly<Record<string, readonly string[] | null>> = {
  tcp_dsack: ['1'],
  tcp_fack: ['0'],
  tcp_reordering: ['3'],
  tcp_fastopen_blackhole_timeout_sec: ANY,
  tcp_min_tso_segs: ANY,
  tcp_tso_win_divisor: ANY,
  tcp_tso_rtt_log: ANY,
  tcp_limit_output_bytes: ANY,
  tcp_pacing_ss_ratio: ANY,
  tcp_pacing_ca_ratio: ANY,
  tcp_notsent_lowat: ['4294967295', '-1'],
  tcp_no_metrics_save: ANY,
  tcp_autocorking: ANY,
  tcp_min_rtt_wlen: ['300'],
  tcp_rfc1337: ['1'],
  tcp_abort_on_overflow: ['0'],
  tcp_tw_reuse: ANY,
  tcp_tw_reuse_delay: ANY,
  tcp_app_win: ANY,
  tcp_adv_win_scale: ANY,
  tcp_shrink_window: ['0'],
  tcp_comp_sack_nr: ANY,
  tcp_comp_sack_delay_ns: ANY,
  tcp_comp_sack_slack_ns: ANY,
  tcp_backlog_ack_defer: ANY,
  tcp_plb_enabled: ['0'],
  tcp_reflect_tos: ['0'],
  ip_no_pmtu_disc: ['0'],
  ip_forward_use_pmtu: ANY,
  icmp_ratelimit: ANY,
  ip_local_port_range: ANY,
  ip_default_ttl: ['64'],
}
