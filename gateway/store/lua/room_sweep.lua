#!lua flags=allow-oom
-- Take out of a room what is past its time, and note when to look again.
--
-- KEYS  1 log  2 meta  3 due list
-- ARGV  1 now ms  2 retention ms  3 how long a room that nobody uses is kept, ms
--       4 member of the due list
-- Returns how many messages were removed.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f-0', now - retention + 1))

-- Redis keeps up to 100 entries in one block. One that is removed is only marked, and its bytes stay until
-- the whole block goes. So the rest is written anew, where that is little work; in a longer log the block
-- goes with the last message in it.
local rest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 101)
if rest[1] and #rest <= 100 then
  redis.call('DEL', KEYS[1])
  for _, entry in ipairs(rest) do
    redis.call('XADD', KEYS[1], entry[1], unpack(entry[2]))
  end
end

local due
if rest[1] then
  due = tonumber(string.match(rest[1][1], '^(%d+)')) + retention
else
  -- Only the numbering is left, so that who comes back can be told the truth about what they missed.
  local used = redis.call('HMGET', KEYS[2], 't', 'u')
  local over = math.max(tonumber(used[1]) or 0, tonumber(used[2]) or 0) + tonumber(ARGV[3])
  if over <= now then
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('ZREM', KEYS[3], ARGV[4])
    return removed
  end
  -- Messages count on the room to be looked at before the next one is past its time.
  due = math.min(over, now + retention)
end
redis.call('ZADD', KEYS[3], string.format('%.0f', due), ARGV[4])
return removed
