#!lua flags=allow-oom
-- One user of a conversation deletes its history up to a place, for himself.
--
-- KEYS  1 log  2 meta
-- ARGV  1 user  2 ms  3 seq
-- A lower place never takes back a higher one, and none is higher than the last message kept: what
-- comes later is not deleted beforehand.
local known = redis.call('HMGET', KEYS[2], 'q', 't', 'w:' .. ARGV[1])
if not known[1] then
  return 0
end
local ms, seq = ARGV[2], ARGV[3]
if tonumber(ms) > tonumber(known[2])
  or (tonumber(ms) == tonumber(known[2]) and tonumber(seq) > tonumber(known[1])) then
  ms, seq = known[2], known[1]
end
if known[3] then
  local old_ms, old_seq = string.match(known[3], '^(%d+)-(%d+)$')
  if tonumber(old_ms) > tonumber(ms)
    or (tonumber(old_ms) == tonumber(ms) and tonumber(old_seq) >= tonumber(seq)) then
    return 0
  end
end
redis.call('HSET', KEYS[2], 'w:' .. ARGV[1], ms .. '-' .. seq)
return 1
