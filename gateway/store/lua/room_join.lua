#!lua flags=allow-oom
-- A session takes a seat, and learns where the room stands. After half.lua and room.lua.
--
-- KEYS  1 meta  2 log  3 seats  4 users  5 due list
-- ARGV  1 now ms  2 retention ms  3 seat  4 seat ends at, ms  5 ttl of the seats, ms
--       6 how many of the last messages  7 8 what the client has: epoch, seq
--       9 epoch for a new room  10 member of the due list
-- Returns {epoch, top seq, members, entries newest first}.
local now = tonumber(ARGV[1])
reap(KEYS[3], KEYS[4], now)
local known = redis.call('HMGET', KEYS[1], 'e', 'q')
local epoch, top = known[1], tonumber(known[2]) or 0
if not epoch then
  epoch = ARGV[9]
  local seq, ms = half(KEYS[2])
  top = seq or 0
  redis.call('HSET', KEYS[1], 'e', epoch, 'q', string.format('%.0f', top),
    't', string.format('%.0f', ms or 0))
end
redis.call('HSET', KEYS[1], 'u', ARGV[1])
redis.call('ZADD', KEYS[5], 'LT', now + tonumber(ARGV[2]), ARGV[10])
take(KEYS[3], KEYS[4], ARGV[3], ARGV[4], ARGV[5])

local entries, after = {}, 0
if ARGV[7] == epoch then
  after = tonumber(ARGV[8])
end
if tonumber(ARGV[6]) > 0 and after < top then
  local youngest = string.format('%.0f-0', now - tonumber(ARGV[2]) + 1)
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', youngest, 'COUNT', ARGV[6])) do
    if tonumber(string.match(entry[1], '-(%d+)$')) <= after then
      break
    end
    entries[#entries + 1] = entry
  end
end
return {epoch, string.format('%.0f', top), redis.call('HLEN', KEYS[4]), entries}
