#!lua flags=allow-oom
-- Raise one person's watermarks in a conversation. After stored.lua.
--
-- KEYS  1 head
-- ARGV  1 user  2 delivered up to  3 read up to  4 no further than this number, 0: no end
-- Returns {epoch, delivered, read, 1 where read rose, 1 where either rose, n and time of the message that
-- is read up to}, or {} where there is no conversation. A mark above the last message is one of the last.
local known = redis.call('HMGET', KEYS[1], 'e', 'a', 'q', 'b', 'bn', 'm:' .. ARGV[1])
if not known[1] then
  return {}
end
local top, low = tonumber(known[3]), tonumber(known[4]) or 0
if tonumber(ARGV[4]) > 0 then
  top = math.min(top, tonumber(ARGV[4]))
end
local was_delivered, was_read = string.match(known[6] or '0 0', '^(%d+) (%d+)$')
was_delivered, was_read = tonumber(was_delivered), tonumber(was_read)
local read = math.max(was_read, math.min(top, tonumber(ARGV[3])))
local delivered = math.max(was_delivered, read, math.min(top, tonumber(ARGV[2])))
if delivered > was_delivered or read > was_read then
  redis.call('HSET', KEYS[1], 'm:' .. ARGV[1], whole(delivered) .. ' ' .. whole(read))
end
local n, time = tonumber(known[5]) or 0, 0
if read > low then
  local value = redis.call('HGET', chunk_of(KEYS[1], known[2] or known[1], read), whole(read))
  if value then
    local _, _, its_time, its_n = parts(value)
    n, time = its_n, its_time
  end
end
return {known[1], delivered, read, read > was_read and 1 or 0,
  (delivered > was_delivered or read > was_read) and 1 or 0, n, time}
