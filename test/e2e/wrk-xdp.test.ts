/**
 * Load by wrk, over AF_XDP on a veth pair: the tests of wrk.test.ts, word for word.
 *
 * @timeout 120
 */
process.env.PACKRAT_TEST_DEVICE = 'xdp'
await import('./wrk.test.ts')
