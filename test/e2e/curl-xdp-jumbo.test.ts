/**
 * The service as curl sees it, over AF_XDP on a veth pair whose frames are larger than a buffer: the tests of
 * curl.test.ts, word for word.
 *
 * @timeout 120
 */
process.env.PACKRAT_TEST_DEVICE = 'xdp'
process.env.PACKRAT_TEST_MTU = '9000'
await import('./curl.test.ts')
