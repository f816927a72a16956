/**
 * A full store, over AF_XDP on a veth pair: the tests of full-store.test.ts, word for word.
 *
 * @timeout 120
 */
process.env.PACKRAT_TEST_DEVICE = 'xdp'
await import('./full-store.test.ts')
