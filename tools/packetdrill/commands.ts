/**
 * Shell commands of a script. None is executed: those that set up a kernel for a script are known by name and become
 * settings; any other makes the script unsupported, by its name.
 */
import { ScriptUnsupported } from './errors.ts'
import { fileOf } from './files.ts'
import { FIXED_AT_START, type Settings } from './settings.ts'

/** Commands that prepare what does not exist here: devices, queues that lose nothing, the restoring of sysctls. */
const WITHOUT_EFFECT =
  /^(?:ip route flush|tc qdisc (?!.*(?:limit 0|netem|tbf))|\/tmp\/sysctl_restore_|true$|ethtool |ifconfig |ip link set dev tun0 (?:up|mtu 1500)|set -|echo [^>]*$|modprobe |(?:\/bin\/)?rm -f |nstat(?: -n)?$)/
const SLEEP = /^sleep (\d+(?:\.\d+)?|\.\d+)s?$/
const US_PER_S = 1_000_000
const DEFAULTS = /(?:^|\/)(?:defaults|common)\.sh$/
/** As the scripts among Linux's self-tests name theirs; Google's lie one folder up or more. */
const LINUX_DEFAULTS = './defaults.sh'
const SET_SYSCTLS = /(?:^|\/)set_sysctls\.py$/

/**
 * @param started the script has begun: settings can no longer change
 * @returns the time that the commands take, µs
 */
export function runCommands(text: string, line: number, settings: Settings, started: boolean): number {
  let sleepUs = 0
  // One command a line or between semicolons; a line that ends with a backslash goes on.
  const commands = text.replace(/\\\n/g, ' ').split(/\n|;|&&/)
  for (const raw of commands) {
    const command = raw
      .replace(/#.*$/, '')
      .replace(/(?:>|2>&1|>>)\s*\/dev\/null/g, '')
      .replace(/2>&1|\|\|\s*true/g, '')
      .trim()
    const seconds = SLEEP.exec(command)?.[1]
    if (seconds !== undefined) sleepUs += Math.round(Number(seconds) * US_PER_S)
    else if (command !== '') runCommand(command, line, settings, started)
  }
  return sleepUs
}

function runCommand(command: string, line: number, settings: Settings, started: boolean): void {
  if (/^ip tcp_metrics flush/.test(command)) {
    settings.onFlush()
    return
  }
  if (WITHOUT_EFFECT.test(command)) return
  const [program, ...words] = splitWords(command)
  if (DEFAULTS.test(program!)) {
    if (!started) settings.applyScriptDefaults(program !== LINUX_DEFAULTS)
    return
  }
  if (program === 'sysctl' || SET_SYSCTLS.test(program!)) {
    for (const word of words) if (!word.startsWith('-')) setSysctl(word, line, settings, started)
    return
  }
  const file = /(?:^|\/)dd$/.test(program!) ? fileOf(words) : undefined
  if (file !== undefined) {
    settings.files.set(file.name, file.bytes)
    return
  }
  if (/^(?:ip|\/sbin\/ip) (?:-\d )?(?:link|route)/.test(command) && setRoute(words, settings, started)) return
  throw new ScriptUnsupported(line, `the command '${command}'`)
}

/** `net.ipv4.tcp_sack=1`, `/proc/sys/net/ipv4/tcp_sack=1`. */
function setSysctl(setting: string, line: number, settings: Settings, started: boolean): void {
  const equals = setting.indexOf('=')
  const path = setting
    .slice(0, equals)
    .replaceAll('/', '.')
    .replace(/^\.proc\.sys\./, '')
  const value = arithmetic(setting.slice(equals + 1))
  const name = /^net\.ipv[46]\.(?:conf\.[^.]+\.)?([a-z0-9_]+)$/.exec(path)?.[1]
  if (path.startsWith('net.core.')) return
  if (equals < 0 || name === undefined || !settings.apply(name, value))
    throw new ScriptUnsupported(line, `the setting '${setting}'`)
  if (!started) return
  if (FIXED_AT_START.has(name)) throw new ScriptUnsupported(line, `the setting '${setting}' while the script runs`)
  settings.onChange()
}

/** `ip link set dev tun0 mtu 1400`. */
function setRoute(words: readonly string[], settings: Settings, started: boolean): boolean {
  const at = words.indexOf('mtu')
  if (at < 0 || started || words.includes('route')) return false
  settings.mtu = Number(words[at + 1])
  return settings.mtu > 0
}

/** The shell's `$((15*1024*1024))`. */
function arithmetic(value: string): string {
  return value.replace(/\$\(\(([\d* ]+)\)\)/g, (_, product: string) =>
    String(product.split('*').reduce((total, factor) => total * Number(factor), 1)),
  )
}

/** Words, with quotes joined and removed. */
function splitWords(command: string): string[] {
  const words = command.match(/(?:[^\s"']|"[^"]*"|'[^']*')+/g) ?? []
  return words.map((word) => word.replace(/["']/g, ''))
}
