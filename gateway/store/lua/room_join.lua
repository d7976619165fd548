#!lua flags=allow-oom
-- A session takes a seat, and learns where the room stands. After half.lua and room.lua.
--
-- KEYS  1 meta  2 log  3 seats  4 users  5 due list
-- ARGV  1 now ms  2 retention ms  3 seat  4 seat ends at, ms  5 ttl of the seats, ms
--       6 how many of the last messages  7 8 what the client has: epoch, seq
--       9 a new epoch  10 member of the due list
--       11 12 the highest number that this gateway has heard: epoch, seq  13 run of the server
--       14 most bytes of the messages, but for the newest
-- Returns {epoch, top seq, members, entries newest first}. Older ones are left out once the bytes are used up.
local now = tonumber(ARGV[1])
reap(KEYS[3], KEYS[4], now)
local epoch, top = stands(KEYS[1], KEYS[2], ARGV[11], ARGV[12], ARGV[9], ARGV[13])
redis.call('HSET', KEYS[1], 'u', ARGV[1])
if top == 0 and redis.call('HEXISTS', KEYS[1], 'o') == 0 then
  -- Nobody made it, and nothing was said: it ends with its last seat.
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
else
  redis.call('ZADD', KEYS[5], 'LT', now + tonumber(ARGV[2]), ARGV[10])
end
take(KEYS[3], KEYS[4], ARGV[3], ARGV[4], ARGV[5])

local entries, after = {}, 0
-- A client that claims more than there is may be right, but its word begins no epoch for all others.
if tonumber(ARGV[8]) <= (kept(epoch, ARGV[7], top) or -1) then
  after = tonumber(ARGV[8])
end
local youngest = string.format('%.0f-0', now - tonumber(ARGV[2]) + 1)
local left, bytes, from = after < top and tonumber(ARGV[6]) or 0, tonumber(ARGV[14]), '+'
while left > 0 do
  -- Four at a time: as many bytes too much are read here at most, and none of them is answered.
  local count = math.min(4, left)
  local found = redis.call('XREVRANGE', KEYS[2], from, youngest, 'COUNT', count)
  left = #found == count and left - count or 0
  for _, entry in ipairs(found) do
    bytes, from = bytes - #entry[2][2], '(' .. entry[1]
    if tonumber(string.match(entry[1], '-(%d+)$')) <= after or bytes < 0 and #entries > 0 then
      left = 0
      break
    end
    entries[#entries + 1] = entry
  end
end
return {epoch, string.format('%.0f', top), redis.call('HLEN', KEYS[4]), entries}
