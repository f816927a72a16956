/**
 * scripts/xdp-lab.sh as a user runs it: up, a daemon over AF_XDP, curl from the other network, kill -9, down, nothing left.
 * All in a mount and network namespace of its own, so that the names of the lab's networks are not the machine's.
 *
 * @alone
 * @timeout 90
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { xdpAvailability } from '../../drivers/xdp.ts'
import { lacks, PACKRAT_PROGRAM, scratchDirectory } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const LAB = fileURLToPath(new URL('../../../scripts/xdp-lab.sh', import.meta.url))

function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'named networks need root'
  return xdpAvailability().reason ?? lacks('ethtool', 'curl', 'unshare')()
}

const test = privateNetworkSuite('xdp-lab', import.meta.url, { timeoutMs: 80_000, missing })

/** Runs shell lines where the names of networks are private; `lab`, `packrat` and `region` are set. */
function shell(lines: string): { status: number | null; output: string } {
  const script = `exec 2>&1; set -eu
mount -t tmpfs none /run
mkdir -p /run/netns
lab() { ${LAB} "$@"; }
packrat() { ${process.execPath} ${PACKRAT_PROGRAM} "$@"; }
region=${join(scratchDirectory(), 'lab.pm')}
${lines}`
  const { status, stdout, stderr } = spawnSync('unshare', ['-m', 'bash', '-c', script], {
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
  })
  return { status, output: stdout + stderr }
}

test('up, serve, curl, kill -9, serve again, down: nothing is left behind', () => {
  const { status, output } = shell(`
lab up
serve() {
  ip netns exec packrat-b ${process.execPath} ${PACKRAT_PROGRAM} serve --device xdp:pr-b --address 10.88.0.2/24 \\
    --pm $region --pm-size 32M >> $region.log 2>&1 &
  pid=$!
  for wait in $(seq 100); do [ "$(grep -c 'packrat ready' $region.log)" = $1 ] && return; sleep 0.1; done
  cat $region.log; exit 1
}
client() { ip netns exec packrat-a curl --silent --show-error --max-time 10 "$@"; }
serve 1
client --output /dev/null --write-out 'PUT %{http_code}\\n' --upload-file ${LAB} http://10.88.0.2/kv/script
kill -9 $pid; wait $pid || true
ip -n packrat-b link show pr-b | grep -q xdp && { echo 'the program outlived its process'; exit 1; }
serve 2
client http://10.88.0.2/kv/script | cmp - ${LAB}
echo 'read back'
lab down
kill -0 $pid 2>/dev/null && { sleep 1; kill -0 $pid 2>/dev/null && { echo 'the daemon outlived the lab'; exit 1; }; }
[ -z "$(ip netns list)" ] || { echo 'a network is left'; exit 1; }
ip link show pr-a 2>/dev/null && { echo 'an interface is left'; exit 1; }
echo 'nothing left'`)
  assert.is(status, 0, output)
  assert.match(output, /PUT 201\n(.*\n)*read back\n(.*\n)*nothing left/)
})

test('up twice is refused, down twice is not', () => {
  const { status, output } = shell('lab up; lab up || echo "refused with $?"; lab down; lab down; echo done')
  assert.is(status, 0, output)
  assert.match(output, /packrat-a exists; take it down first.*\nrefused with 3\ndone/)
})

test('wrong usage is exit 2', () => {
  const { output } = shell('lab || echo "status $?"; lab sideways || echo "status $?"')
  assert.match(output, /usage: .*up\|down\nstatus 2\nusage: .*\nstatus 2/)
})

test.run()
