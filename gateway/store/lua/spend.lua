#!lua flags=allow-oom
-- Take tokens out of a bucket that several gateways spend from, and tell what is left.
--
-- KEYS  1 bucket: when it is full again, in ms; absent when it is full
-- ARGV  1 now ms  2 ms a token takes to come back  3 tokens spent
-- Returns in how many ms the bucket is full, as text. It may be in debt, where gateways spent more
-- than there was before they knew of each other; what comes back pays that first.
local now = tonumber(ARGV[1])
local full = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now)
full = full + tonumber(ARGV[3]) * tonumber(ARGV[2])
local left = full - now
if left > 0 then
  redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(left))
end
return string.format('%.3f', left)
