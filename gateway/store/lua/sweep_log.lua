#!lua flags=allow-oom
-- Take out of one conversation's log what is past its time, and note when to look again.
--
-- KEYS  1 log  2 meta  3 due list
-- ARGV  1 now ms  2 retention ms  3 member of the due list
-- Returns how many messages were removed.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f-0', now - retention + 1))
-- As in sweep.lua: what is removed inside a block of a stream is only marked, so the rest is written
-- anew where that is little work.
local rest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 101)
if not rest[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[3])
  return removed
end
if #rest <= 100 then
  redis.call('DEL', KEYS[1])
  for _, entry in ipairs(rest) do
    redis.call('XADD', KEYS[1], entry[1], unpack(entry[2]))
  end
end
local due = tonumber(string.match(rest[1][1], '^(%d+)')) + retention
redis.call('ZADD', KEYS[3], string.format('%.0f', due), ARGV[3])
return removed
