/**
 * Load by wrk, over AF_XDP on a veth pair of four queues: the tests of wrk.test.ts, word for word.
 *
 * @timeout 120
 */
process.env.PACKRAT_TEST_DEVICE = 'xdp'
process.env.PACKRAT_TEST_QUEUES = '4'
await import('./wrk.test.ts')
