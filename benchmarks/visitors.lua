-- A thousand visitors, each with the cookie that they brought.
math.randomseed(1)
local agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0"
request = function()
  local cookie = string.format("ko_id=%08x-3b02-40c4-b8d2-1842c193d3ba", math.random(1000))
  return wrk.format("GET", "/", {
    ["Cookie"] = cookie, ["User-Agent"] = agent, ["Accept"] = "text/html",
    ["Sec-Fetch-Site"] = "same-origin", ["Sec-Fetch-Mode"] = "navigate", ["Sec-Fetch-Dest"] = "document",
  })
end

done = function(summary, latency)
  io.write(string.format("RESULT %d %f %f %f %d\n", summary.requests,
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
