/**
 * kill -9 under load, over AF_XDP on a veth pair: the tests of kill.test.ts, word for word.
 *
 * @timeout 280
 */
process.env.PACKRAT_TEST_DEVICE = 'xdp'
await import('./kill.test.ts')
