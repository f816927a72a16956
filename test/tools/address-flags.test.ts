/** Addresses as flags: which are refused, and what the kernel's side of a TAP gets. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cidr, hostAddress, hostCidr } from '../../tools/address-flags.ts'
import { checkIpv6 } from '../../tools/ipv6-flags.ts'

const endsOf = (address: string, host?: string) => ({ address, 'host-address': host })

test('the kernel gets the first address of the network, unless another one or none is given', () => {
  assert.is(hostAddress(endsOf('10.77.0.2/24')), '10.77.0.1/24')
  assert.is(hostAddress(endsOf('192.168.7.200/25')), '192.168.7.129/25')
  assert.is(hostAddress(endsOf('10.0.0.0/31')), '10.0.0.1/31')
  assert.is(hostAddress(endsOf('10.77.0.2/24', '10.77.0.9/16')), '10.77.0.9/16')
  assert.is(hostAddress(endsOf('10.77.0.2/24', 'none')), undefined)
})

test('one address for both ends is refused', () => {
  for (const host of [undefined, '10.0.0.1/24', '10.0.0.1/16'])
    assert.throws(() => hostAddress(endsOf('10.0.0.1/24', host)), /--host-address .* is the address of --address/)
})

test('what no station can have is not read (RFC 1122 3.2.1.3); the two of a /31 are (RFC 3021)', () => {
  const none = ['0.0.0.0/0', '0.1.2.3/8', '127.0.0.1/8', '224.0.0.1/24', '255.255.255.255/32', '10.0.0.0/24']
  for (const flag of [cidr(''), hostCidr()]) {
    for (const address of [...none, '10.0.0.255/24', '10.0.0.1', 'some'])
      assert.is(flag.read(address), undefined, address)
    for (const address of ['10.0.1.255/16', '10.0.0.0/31', '10.0.0.1/31', '10.0.0.1/32'])
      assert.is(flag.read(address), address)
  }
})

test('IPv6: the first address of the network is for the kernel of a TAP, and free to take where there is none', () => {
  const flags = { address6: 'fd77::1/64', 'host-address6': undefined, gateway6: undefined, mtu: 1500 }
  assert.throws(() => checkIpv6({ ...flags, device: 'tap:packrat0' }, []), /is the address of --address6/)
  checkIpv6({ ...flags, device: 'xdp:eth0' }, [])
})

test.run()
