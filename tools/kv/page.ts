/** GET /: a small page for people. */
export const PAGE = new Uint8Array(
  Buffer.from(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Packrat</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42em;margin:2em auto;padding:0 1em}pre{background:#f4f4f4;padding:.8em;overflow:auto}</style>
<h1>Packrat</h1>
<p>A key-value store made of packets: the TCP segment that brought a value is the durable, checksummed entry.</p>
<pre>
curl -T file http://HOST/kv/KEY          store (201 created, 204 replaced)
curl http://HOST/kv/KEY                  read back
curl -X DELETE http://HOST/kv/KEY        remove
curl 'http://HOST/kv?prefix=a&amp;limit=10'  list in key order
</pre>
<p><a href="/kv">All entries</a> &middot; <a href="/stats">Counters</a></p>
</html>
`),
)
