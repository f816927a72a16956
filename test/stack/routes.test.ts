/** Static routes: what is read, what is refused, and which one counts (RFC 1122 3.3.1). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { formatAddress, parseAddress } from '../../stack/address.ts'
import { ipv4Routes, ipv6Routes, NO_ROUTE, parseRoute, type Route, type Routes } from '../../stack/routes.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { VirtualNetwork } from '../support/virtual-link.ts'

function routesOf(...texts: string[]): Route[] {
  return texts.map((text) => {
    const route = parseRoute(text)
    assert.ok(route, text)
    return route
  })
}

/** The next hop as text; '' for nowhere. */
function via(routes: Routes, text: string): string {
  const { word0, word1, word2, word3 } = parseAddress(text)
  const route = routes.find(word0, word1, word2, word3)
  if (route === NO_ROUTE) return ''
  const gateway = routes.gateway(route)
  return gateway === undefined ? text : formatAddress(gateway.word0, gateway.word1, gateway.word2, gateway.word3)
}

test('the longest prefix counts, in whatever order they were given', () => {
  const texts = [
    '10.1.2.3/32=10.0.0.5',
    '10.0.0.0/8=10.0.0.2',
    '10.1.0.0/16=10.0.0.3',
    '10.1.2.0/24=10.0.0.4',
    '10.0.0.128/25=10.0.0.6',
  ]
  for (const order of [texts, texts.toReversed(), [texts[3]!, texts[0]!, texts[4]!, texts[1]!, texts[2]!]]) {
    const routes = ipv4Routes('10.0.0.1/24', '10.0.0.9', routesOf(...order))
    assert.is(via(routes, '10.1.2.3'), '10.0.0.5')
    assert.is(via(routes, '10.1.2.4'), '10.0.0.4')
    assert.is(via(routes, '10.1.3.4'), '10.0.0.3')
    assert.is(via(routes, '10.200.0.1'), '10.0.0.2')
    assert.is(via(routes, '10.0.0.7'), '10.0.0.7', 'on the link')
    assert.is(via(routes, '10.0.0.129'), '10.0.0.6', 'a part of the link’s network that is elsewhere')
    assert.is(via(routes, '192.0.2.1'), '10.0.0.9')
  }
  assert.is(via(ipv4Routes('10.0.0.1/24', undefined, []), '192.0.2.1'), '')
})

test('IPv6 has routes of its own, with link-local gateways', () => {
  const statics = routesOf('2001:db8::/32=fe80::1', '2001:db8:1::/48=fd77::9', '10.9.0.0/16=10.0.0.2')
  const routes = ipv6Routes('fd77::2/64', 'fd77::1', statics)
  assert.is(via(routes, '2001:db8::5'), 'fe80::1')
  assert.is(via(routes, '2001:db8:1::5'), 'fd77::9')
  assert.is(via(routes, 'fd77::5'), 'fd77::5')
  assert.is(via(routes, 'fe80::5'), 'fe80::5')
  assert.is(via(routes, '2001::1'), 'fd77::1')
})

test('what cannot be a route is refused', () => {
  for (const text of [
    '',
    '10.1.0.0/16',
    '10.1.0.0/16=',
    '=10.0.0.2',
    '10.1.0.0/33=10.0.0.2',
    '10.1.0.0=10.0.0.2',
    '10.1.2.0/16=10.0.0.2', // bits behind the prefix
    '10.1.0.0/16=fe80::1',
    '2001:db8::/32=10.0.0.2',
    '2001:db8::1/32=fe80::1',
    '10.1.0.0/16=10.0.0.2=3',
  ])
    assert.is(parseRoute(text), undefined, text)
  const codes = (run: () => unknown): string => {
    try {
      run()
      return ''
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  assert.is(
    codes(() => ipv4Routes('10.0.0.1/24', undefined, routesOf('10.1.0.0/16=192.0.2.1'))),
    'BAD_ROUTE',
  )
  const twice = routesOf('10.1.0.0/16=10.0.0.2', '10.1.0.0/16=10.0.0.3')
  assert.is(
    codes(() => ipv4Routes('10.0.0.1/24', undefined, twice)),
    'BAD_ROUTE',
  )
  const many = routesOf(...Array.from({ length: 64 }, (_, index) => `10.${index + 1}.0.0/16=10.0.0.2`))
  assert.is(
    codes(() => ipv4Routes('10.0.0.1/24', undefined, many)),
    'BAD_ROUTE',
  )
})

test('a host sends to the gateway of the route', () => {
  const asked: string[] = []
  const network = new VirtualNetwork({
    seed: 1,
    filter: (frame, fromA) => {
      if (fromA && frame[13] === 6 && frame[21] === 1) asked.push([...frame.subarray(38, 42)].join('.'))
      return true
    },
    hostOptions: { routes: routesOf('192.0.2.0/24=10.0.0.7', '192.0.2.128/25=10.0.0.8') },
  })
  network.runFor(1000)
  asked.length = 0
  for (const address of ['192.0.2.1', '192.0.2.200', '198.51.100.1'])
    network.hostA.tcp.connect(address, 80, new StreamApplication(network.poolA))
  network.hostA.flush(network.nowUs)
  assert.equal(asked, ['10.0.0.7', '10.0.0.8'])
  assert.is(network.hostA.hasRoute('192.0.2.9'), true)
  assert.is(network.hostA.hasRoute('198.51.100.1'), false)
  assert.is(network.hostA.counters.ipv4.dropNoRoute, 1)
  const port = network.hostA.udp.bind(0, { onDatagrams() {}, onUnreachable() {}, onClose() {} })
  network.hostA.udp.send(port, parseAddress('192.0.2.3'), 9, chainOf(network.poolA, new Uint8Array(1)))
  network.hostA.close(network.nowUs)
  assert.is(network.poolA.freeBuffers, network.poolA.totalBuffers)
})

test.run()
