/**
 * What a new user does with curl, over AF_XDP on a veth pair: the tests of curl.test.ts, word for word.
 *
 * @timeout 240
 */
process.env.PACKRAT_TEST_DEVICE = 'xdp'
await import('./curl.test.ts')
