/**
 * What a new user does with curl, over a TAP without offloads: the tests of curl.test.ts, word for word.
 *
 * @timeout 240
 */
process.env.PACKRAT_TEST_OFFLOAD = 'none'
await import('./curl.test.ts')
