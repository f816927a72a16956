/** Addresses between text and words: the examples of RFC 4291 2.2 and RFC 5952, and what is refused. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAddress, parseIpv6Cidr } from '../../stack/address.ts'
import { SeededRandom } from '../../stack/random.ts'
import { announceSeed } from '../support/random.ts'

const seed = announceSeed('address', 5952)

/** Written, and how it is written properly. RFC 4291 2.2 and 2.5.5.2, RFC 5952 1, 2 and 4. */
const examples = [
  ['ABCD:EF01:2345:6789:ABCD:EF01:2345:6789', 'abcd:ef01:2345:6789:abcd:ef01:2345:6789'],
  ['2001:DB8:0:0:8:800:200C:417A', '2001:db8::8:800:200c:417a'],
  ['FF01:0:0:0:0:0:0:101', 'ff01::101'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['::13.1.68.3', '::d01:4403'],
  ['::ffff:129.144.52.38', '129.144.52.38'],
  ['2001:db8::0:1', '2001:db8::1'],
  ['2001:0db8::0001', '2001:db8::1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ['0:0:3::', '0:0:3::'],
  ['fe80::', 'fe80::'],
  ['10.77.0.2', '10.77.0.2'],
] as const

test('every example is read, and written as RFC 5952 wants it', () => {
  for (const [text, proper] of examples) assert.is(parseAddress(text).toString(), proper, text)
})

test('what is no address is refused', () => {
  const wrong = ['', ':', ':::', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1::2::3', '12345::', 'g::', '1:2:3:4:5:6:7:8::']
  wrong.push('::1.2.3', '::1.2.3.256', '1.2.3.4::', 'fe80::1%eth0', ' ::1', '::1 ', '1.2.3.04', '[::1]', '::1/64')
  for (const text of wrong) assert.throws(() => parseAddress(text), /is no IPv[46] address/, text)
  for (const text of ['fd00::1', 'fd00::1/', 'fd00::1/129', 'fd00::1/-1', 'fd00::1/6 '])
    assert.throws(() => parseIpv6Cidr(text), /is no IPv6 address/, text)
})

test('any address survives the way to text and back', () => {
  const random = new SeededRandom(seed)
  for (let round = 0; round < 5000; round++) {
    // Many zero groups, so that runs of all lengths come up.
    const groups = Array.from({ length: 8 }, () => (random.chance(0.5) ? 0 : random.next() & 0xffff))
    const text = parseAddress(groups.map((group) => group.toString(16)).join(':')).toString()
    const { word0, word1, word2, word3 } = parseAddress(text)
    const words = [0, 1, 2, 3].map((word) => (groups[word * 2]! << 16) | groups[word * 2 + 1]!)
    assert.equal([word0, word1, word2, word3], words, text)
  }
})

test.run()
