#!lua flags=allow-oom
-- A session takes a seat, and learns where the room stands. After half.lua and room.lua.
--
-- KEYS  1 meta  2 log  3 seats  4 users  5 due list
-- ARGV  1 now ms  2 retention ms  3 seat  4 seat ends at, ms  5 ttl of the seats, ms
--       6 how many of the last messages  7 8 what the client has: epoch, seq
--       9 a new epoch  10 member of the due list
--       11 12 the highest number that this gateway has heard: epoch, seq
-- Returns {epoch, top seq, members, entries newest first}.
local now = tonumber(ARGV[1])
reap(KEYS[3], KEYS[4], now)
local epoch, top = stands(KEYS[1], KEYS[2], ARGV[11], ARGV[12], ARGV[9])
redis.call('HSET', KEYS[1], 'u', ARGV[1])
redis.call('ZADD', KEYS[5], 'LT', now + tonumber(ARGV[2]), ARGV[10])
take(KEYS[3], KEYS[4], ARGV[3], ARGV[4], ARGV[5])

local entries, after = {}, 0
-- A client that claims more than there is may be right, but its word begins no epoch for all others.
if ARGV[7] == epoch and tonumber(ARGV[8]) <= top then
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
