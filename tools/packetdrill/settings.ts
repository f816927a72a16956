/**
 * What a script's set-up says, as options of the stack: Linux's sysctls and routes by name. A setting that the stack
 * does not have is accepted only with the value that describes what the stack does; else the script is unsupported.
 *
 * `defaults.sh`, which nearly every script runs, is known by its name and not executed: its settings are Linux's common
 * ones. Called by: commands.ts, run-script.ts.
 */
import { RECEIVE_LIMIT_BYTES, SEND_LIMIT_BYTES } from '../../stack/limits.ts'

/** Bytes; the kernel's defaults without any set-up (tcp_rmem, tcp_wmem). */
const RECEIVE_MAX = 6 << 20
const SEND_MAX = 4 << 20
/** The same in `defaults.sh`. */
const SCRIPTS_RECEIVE_MAX = 15 << 20

export class Settings {
  mtu = 1500
  timestamps = true
  windowScaling = true
  sack = true
  rack = true
  tailProbes = true
  frto = true
  congestion: 'cubic' | 'reno' = 'cubic'
  /** Largest receive buffer: what the window scale is made for. */
  receiveMaxBytes = Math.max(RECEIVE_MAX, RECEIVE_LIMIT_BYTES)
  sendMaxBytes = Math.max(SEND_MAX, SEND_LIMIT_BYTES)

  /**
   * One setting by its name below net.ipv4.
   * @returns false if the stack cannot do that
   */
  apply(name: string, value: string): boolean {
    const fixed = Object.hasOwn(FIXED, name) ? FIXED[name] : undefined
    if (fixed !== undefined) return fixed === ANY || fixed.includes(normal(value))
    const change = Object.hasOwn(CHANGES, name) ? CHANGES[name] : undefined
    return change?.(this, normal(value)) ?? false
  }

  /** What `defaults.sh` sets beyond the kernel's own defaults. */
  applyScriptDefaults(): void {
    this.receiveMaxBytes = SCRIPTS_RECEIVE_MAX
    this.sendMaxBytes = SEND_MAX
  }
}

type Change = (settings: Settings, value: string) => boolean

const ON_OFF = ['0', '1']

const CHANGES: Readonly<Record<string, Change>> = {
  tcp_timestamps: (settings, value) => {
    settings.timestamps = value !== '0'
    return [...ON_OFF, '2'].includes(value)
  },
  tcp_window_scaling: (settings, value) => {
    settings.windowScaling = value === '1'
    return ON_OFF.includes(value)
  },
  tcp_sack: (settings, value) => {
    settings.sack = value === '1'
    return ON_OFF.includes(value)
  },
  tcp_recovery: (settings, value) => {
    settings.rack = value !== '0'
    return ON_OFF.includes(value)
  },
  tcp_early_retrans: (settings, value) => {
    settings.tailProbes = value === '3' || value === '4'
    return ['0', '3', '4'].includes(value)
  },
  tcp_frto: (settings, value) => {
    settings.frto = value !== '0'
    return ['0', '1', '2'].includes(value)
  },
  tcp_congestion_control: (settings, value) => {
    if (value !== 'cubic' && value !== 'reno') return false
    settings.congestion = value
    return true
  },
  tcp_rmem: (settings, value) => {
    settings.receiveMaxBytes = Number(value.split(' ')[2])
    return settings.receiveMaxBytes > 0
  },
  tcp_wmem: (settings, value) => {
    settings.sendMaxBytes = Number(value.split(' ')[2])
    return settings.sendMaxBytes > 0
  },
}

/** Any value: it changes nothing that a script can see of this stack. */
const ANY = null

/** Settings that the stack does not have, and the values that describe it. */
const FIXED: Readonly<Record<string, readonly string[] | null>> = {
  tcp_dsack: ['1'],
  tcp_fack: ['0'],
  tcp_reordering: ['3'],
  tcp_syn_retries: ['5', '6'],
  tcp_synack_retries: ['5'],
  tcp_retries2: ['15'],
  tcp_orphan_retries: ['0', '8'],
  tcp_ecn: ['0', '2'],
  tcp_ecn_fallback: ANY,
  tcp_slow_start_after_idle: ['0', '1'],
  tcp_syncookies: ['0', '1'],
  tcp_fastopen: ANY,
  tcp_fastopen_key: ANY,
  tcp_fastopen_blackhole_timeout_sec: ANY,
  tcp_moderate_rcvbuf: ANY,
  tcp_min_tso_segs: ANY,
  tcp_tso_win_divisor: ANY,
  tcp_tso_rtt_log: ANY,
  tcp_limit_output_bytes: ANY,
  tcp_pacing_ss_ratio: ANY,
  tcp_pacing_ca_ratio: ANY,
  tcp_notsent_lowat: ['4294967295', '-1'],
  tcp_no_metrics_save: ANY,
  tcp_autocorking: ANY,
  tcp_invalid_ratelimit: ['500'],
  tcp_challenge_ack_limit: ANY,
  tcp_min_rtt_wlen: ['300'],
  tcp_mtu_probing: ['0'],
  tcp_rfc1337: ['1'],
  tcp_abort_on_overflow: ['0'],
  tcp_tw_reuse: ANY,
  tcp_keepalive_time: ['7200'],
  tcp_keepalive_intvl: ['75'],
  tcp_keepalive_probes: ['9'],
  tcp_fin_timeout: ['60'],
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

function normal(value: string): string {
  return value.trim().replace(/\s+/g, ' ')
}
