/** The doctor: machines are described as folders, so that each finding is seen both ways. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { diagnose, diagnosisText, doctor } from '../../tools/doctor.ts'
import { mountOf, placeOf } from '../../tools/machine.ts'

const folders: string[] = []

test.after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

const MOUNTS = [
  '22 1 254:0 / / rw,relatime - ext4 /dev/root rw,errors=remount-ro',
  '23 22 0:21 / /dev/shm rw,nosuid shared:3 - tmpfs tmpfs rw',
  '24 22 259:1 / /mnt/pm\\040em rw - xfs /dev/pmem0 rw,dax=always,inode64',
  '25 22 0:40 / /home rw - nfs4 server:/home rw,vers=4.2',
  '26 22 0:41 / /srv rw - fuse.sshfs me@there rw',
  '27 25 0:42 / /home/me/fast rw - btrfs /dev/vdb rw',
].join('\n')

/** A machine that can run everything; `changes` replace files, undefined removes them. */
function machine(changes: Record<string, string | undefined> = {}): string {
  const root = mkdtempSync(join(tmpdir(), 'packrat-doctor-'))
  folders.push(root)
  const files: Record<string, string | undefined> = {
    'dev/net/tun': '',
    'dev/dax0.0': '',
    'proc/self/status': 'Name:\tnode\nCapEff:\t000001ffffffffff\n',
    'proc/self/uid_map': '         0          0 4294967295\n',
    'proc/self/limits':
      'Limit  Soft  Hard  Units\nMax locked memory         8388608              8388608              bytes\n',
    'proc/self/mountinfo': MOUNTS,
    'proc/net/protocols': 'protocol  size sockets\nXDP        960     -1\nTCP       2432      5\n',
    'proc/cpuinfo': 'processor\t: 0\nflags\t\t: fpu sse4_2 clflush clflushopt clwb\n',
    'sys/bus/nd/devices/region0/persistence_domain': 'cpu_cache\n',
    ...changes,
  }
  for (const [file, content] of Object.entries(files)) {
    if (content === undefined) continue
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), content)
  }
  return root
}

const NIC = {
  'sys/class/net/eth0/mtu': '1500\n',
  'sys/class/net/eth0/flags': '0x1003\n',
  'sys/class/net/eth0/queues/rx-0/rps_cpus': '0\n',
  'sys/class/net/eth0/queues/rx-1/rps_cpus': '0\n',
  'sys/class/net/eth0/queues/tx-0/xps_cpus': '0\n',
  'sys/class/net/eth1/mtu': '65535\n',
  'sys/class/net/eth1/flags': '0x1002\n',
  'sys/class/net/eth1/queues/rx-0/rps_cpus': '0\n',
  'sys/class/net/lo/mtu': '65536\n',
}

test('interfaces for AF_XDP are listed with what stands in the way, and places that can be pinned', async () => {
  const diagnosis = await diagnose({ root: machine(NIC), nodeVersion: 'v24.1.0', folders: ['/dev/shm', '/anywhere'] })
  const text = diagnosisText(diagnosis)
  assert.match(text, /xdp:eth0: 2 queues, MTU 1500, up\n/)
  assert.match(text, /xdp:eth1: 1 queue, MTU 65535, too large: set it to 32238 or less, down: ip link set eth1 up/)
  assert.not.match(text, /xdp:lo/)
  assert.equal(
    diagnosis.places.map(({ pinnable }) => pinnable),
    [true, false],
  )
  const without = { ...NIC, 'proc/self/status': 'CapEff:\t0000000000001000\n' }
  assert.equal((await diagnose({ root: machine(without), folders: ['/anywhere'] })).interfaces, [])
})

async function finding(name: string, changes: Record<string, string | undefined>, nodeVersion = 'v20.19.0') {
  const diagnosis = await diagnose({ root: machine(changes), nodeVersion, folders: ['/anywhere'] })
  const found = diagnosis.findings.find((candidate) => candidate.name === name)!
  return { state: found.state, detail: found.detail, hint: found.hint, canServe: diagnosis.canServe }
}

test('a machine with everything can serve, and every finding is ok', async () => {
  const { canServe, findings } = await diagnose({ root: machine(), nodeVersion: 'v24.1.0', folders: ['/anywhere'] })
  assert.ok(canServe)
  for (const { name, state } of findings) assert.is(state, 'ok', name)
})

test('what serve needs and is missing makes canServe false, and has a hint', async () => {
  for (const [name, changes, nodeVersion] of [
    ['Node.js', {}, 'v20.18.3'],
    ['Node.js', {}, 'v18.20.0'],
    ['TAP interfaces', { 'dev/net/tun': undefined }, undefined],
    ['CAP_NET_ADMIN', { 'proc/self/status': 'CapEff:\t0000000000000000\n' }, undefined],
  ] as const) {
    const found = await finding(name, changes, nodeVersion)
    assert.is(found.state, 'missing', name)
    assert.not(found.canServe, name)
    assert.is.not(found.hint, '', name)
  }
})

test('newer Node.js versions than the minimum are enough', async () => {
  for (const version of ['v20.19.0', 'v20.20.2', 'v22.0.0', 'v24.1.0']) {
    assert.is((await finding('Node.js', {}, version)).state, 'ok', version)
  }
})

test('what serve can do without is missing without harm', async () => {
  for (const [name, changes] of [
    ['AF_XDP', { 'proc/net/protocols': 'TCP 1 2\n' }],
    ['DAX devices', { 'dev/dax0.0': undefined }],
    ['eADR', { 'sys/bus/nd/devices/region0/persistence_domain': undefined }],
    ['eADR', { 'sys/bus/nd/devices/region1/persistence_domain': 'memory_controller\n' }],
    ['cache flush', { 'proc/cpuinfo': 'flags : fpu\n' }],
  ] as const) {
    const found = await finding(name, changes)
    assert.is(found.state, 'missing', name)
    assert.ok(found.canServe, name)
  }
})

test('a region whose persistence domain cannot be read is not eADR', async () => {
  const root = machine()
  mkdirSync(join(root, 'sys/bus/nd/devices/region1'))
  const { findings } = await diagnose({ root, folders: ['/anywhere'] })
  assert.is(findings.find(({ name }) => name === 'eADR')!.state, 'missing')
})

test('what cannot be read is unknown, not missing and not ok', async () => {
  for (const [name, file] of [
    ['CAP_NET_ADMIN', 'proc/self/status'],
    ['AF_XDP', 'proc/net/protocols'],
    ['locked memory', 'proc/self/limits'],
    ['cache flush', 'proc/cpuinfo'],
  ] as const) {
    assert.is((await finding(name, { [file]: undefined })).state, 'unknown', name)
  }
})

test('in a user namespace AF_XDP programs cannot be loaded, and CAP_NET_ADMIN says what it rules', async () => {
  const changes = { 'proc/self/uid_map': '0 1000 1\n' }
  assert.is((await finding('AF_XDP', changes)).state, 'missing')
  assert.match((await finding('CAP_NET_ADMIN', changes)).detail, /user namespace/)
})

test('the limit of locked memory counts only for who may not exceed it', async () => {
  const status = { 'proc/self/status': 'CapEff:\t0000000000001000\n' }
  assert.is((await finding('locked memory', status)).state, 'missing')
  const unlimited = 'Max locked memory         unlimited            unlimited            bytes\n'
  assert.is((await finding('locked memory', { ...status, 'proc/self/limits': unlimited })).state, 'ok')
})

test('the deepest mount that holds a folder decides', () => {
  const type = (path: string) => mountOf(MOUNTS, path)?.type
  assert.is(type('/'), 'ext4')
  assert.is(type('/var/lib'), 'ext4')
  assert.is(type('/dev/shm'), 'tmpfs')
  assert.is(type('/dev/shmem'), 'ext4')
  assert.is(type('/home/me'), 'nfs4')
  assert.is(type('/home/me/fast/x'), 'btrfs')
  assert.is(type('/mnt/pm em/x'), 'xfs')
  assert.is(mountOf('', '/'), undefined)
})

test('the durability class follows the file system, and network file systems are refused', async () => {
  const root = machine()
  for (const [folder, durability] of [
    ['/var/nowhere', 'msync'],
    ['/dev/shm/nowhere', 'process'],
    ['/mnt/pm em/nowhere', 'dax'],
    ['/home/nowhere', undefined],
    ['/srv/nowhere', undefined],
  ] as const) {
    assert.is(placeOf(root, folder).durability, durability, folder)
  }
  assert.not((await diagnose({ root, folders: ['/home/nowhere', '/dev/shm'] })).canServe)
})

test('the table names every finding, and hints only at what is missing', async () => {
  const root = machine({ 'dev/net/tun': undefined })
  const diagnosis = await diagnose({ root, folders: ['/var/nowhere', '/home/nowhere'] })
  const table = diagnosisText(diagnosis)
  for (const { name } of diagnosis.findings) assert.ok(table.includes(name), name)
  assert.match(table, /^MISSING {2}TAP interfaces/m)
  assert.match(table, /-> load the module/)
  assert.match(table, /in \/var\/nowhere: class msync/)
  assert.match(table, /in \/home\/nowhere: refused \(nfs/)
  assert.match(table, /cannot run here/)
})

test('--json prints one document about this machine, and the status agrees with it', async () => {
  const { log } = console
  let printed = ''
  console.log = (text: string) => {
    printed += text
  }
  let status: number
  try {
    status = await doctor(['--json'])
  } finally {
    console.log = log
  }
  const document = JSON.parse(printed)
  assert.is(status, document.canServe ? 0 : 1)
  assert.ok(document.findings.length >= 9)
  assert.is(document.places.length, 2)
})

test('a folder in which a region of the default size cannot be written is no place for one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'packrat-doctor-'))
  folders.push(folder)
  // A mount namespace of its own, so that the small file system ends with the shell.
  const script =
    'mount -t tmpfs -o size=4m tmpfs "$0" || exit 99; cd "$0"; "$@"; ' +
    'truncate -s 1M packrat.pm; "$@"; mount -o remount,ro "$0"; "$@"; exit 0'
  const program = new URL('../../tools/packrat.js', import.meta.url).pathname
  const argv = ['-m', 'sh', '-c', script, folder, process.execPath, program, 'doctor']
  const { status, stdout } = spawnSync('unshare', argv, { encoding: 'utf8', timeout: 30_000 })
  if (status !== 0) {
    console.log('SKIP: places: tmpfs cannot be mounted here')
    return
  }
  const found = stdout.split('\n').filter((line) => line.startsWith(`  in ${folder}: `))
  assert.match(found[0]!, /: refused \(tmpfs; 4M are free, less than the 1G of --pm-size\)$/)
  assert.match(found[1]!, /: class process /, 'one that is there has its size already')
  assert.match(found[2]!, /: refused \(tmpfs; no region can be written there: EROFS\)$/)
})

test.run()
