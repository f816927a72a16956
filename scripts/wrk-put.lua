-- wrk script: PUT of values of one size to a ring of keys, then one JSON line of results on standard output.
--
--   wrk ... -s scripts/wrk-put.lua URL -- [BYTES [KEYS [METHOD]]]      (1024, 1000, PUT)
--
-- METHOD GET reads the same keys back. Each thread has keys of its own. The requests are formatted once, before the
-- clock starts: the client's core is the scarce one when a fast server is measured.

local requests = {}
local next_request = 0
local thread_count = 0

function setup(thread)
  thread:set("thread_number", thread_count)
  thread_count = thread_count + 1
end

function init(arguments)
  local bytes = tonumber(arguments[1]) or 1024
  local keys = tonumber(arguments[2]) or 1000
  local method = arguments[3] or "PUT"
  local body = method == "PUT" and string.rep("packrat ", math.ceil(bytes / 8)):sub(1, bytes) or nil
  for key = 1, keys do
    requests[key] = wrk.format(method, string.format("/kv/wrk-%d-%06d", thread_number, key), nil, body)
  end
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"mean_us":%.1f,"p50_us":%d,"p99_us":%d,"max_us":%d,' ..
      '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration, latency.mean, latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout
  ))
end
