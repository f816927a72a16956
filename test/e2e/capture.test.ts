/** `packrat serve --capture`: the file that tshark opens holds the exchange with curl, without a malformed frame. */
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { curlStatus, keyUrl, lacks, packrat, run, scratchDirectory, startDaemon } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const test = privateNetworkSuite('capture', import.meta.url, { missing: lacks('curl', 'tshark') })

const VALUE_BYTES = 300_000

test('a PUT and a GET are in the capture, whole and well-formed', async () => {
  const directory = scratchDirectory()
  const file = join(directory, 'serve.pcapng')
  const value = join(directory, 'value')
  await run('sh', ['-c', `head -c ${VALUE_BYTES} /dev/urandom > "$0"`, value])
  const daemon = await startDaemon({
    region: join(directory, 'capture.pm'),
    flags: ['--pm-size', '16M', '--durability', 'process', '--capture', file],
  })
  assert.is(await curlStatus('--upload-file', value, keyUrl('a')), 201)
  assert.is(await curlStatus(keyUrl('a')), 200)
  assert.equal(await daemon.stop(), { status: 0, signal: null })

  const read = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await run('tshark', ['-r', file, ...args])
    assert.is(status, 0, stderr)
    return stdout.toString().trim()
  }
  assert.is(await read('-Y', '_ws.malformed || ip.checksum.status == "Bad"'), '')
  assert.is(await read('-Y', 'http.request', '-T', 'fields', '-e', 'http.request.method'), 'PUT\nGET')
  assert.is(await read('-Y', 'http.response', '-T', 'fields', '-e', 'http.response.code'), '100\n201\n200')
  const served = await read('-Y', 'http.response.code == 200', '-T', 'fields', '-e', 'http.content_length')
  assert.is(Number(served), VALUE_BYTES)
  const directions = await read('-T', 'fields', '-e', 'frame.packet_flags_direction')
  assert.equal(new Set(directions.split('\n').map(Number)), new Set([1, 2]))
})

test('a capture file that cannot be created is one line and exit status 3', async () => {
  const region = join(scratchDirectory(), 'refused.pm')
  const { status, stderr } = await packrat('serve', '--pm', region, '--pm-size', '16M', '--capture', '/nonexistent/x')
  assert.is(status, 3)
  assert.match(stderr, /^packrat serve: cannot write the capture: ENOENT[^\n]*\n$/)
})

test.run()
