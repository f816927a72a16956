/**
 * What a new user does with curl, over a TAP with checksum offload only: the tests of curl.test.ts, word for word.
 *
 * @timeout 240
 */
process.env.PACKRAT_TEST_OFFLOAD = 'checksum'
await import('./curl.test.ts')
