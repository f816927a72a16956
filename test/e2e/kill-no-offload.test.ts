/**
 * kill -9 under load, over a TAP without offloads: the tests of kill.test.ts, word for word.
 *
 * @timeout 280
 */
process.env.PACKRAT_TEST_OFFLOAD = 'none'
await import('./kill.test.ts')
