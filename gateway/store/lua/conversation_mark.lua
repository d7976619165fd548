#!lua flags=allow-oom
-- Raise one person's watermarks in a conversation. After stored.lua, parts.lua and head.lua.
--
-- KEYS  1 head
-- ARGV  1 user  2 delivered up to  3 read up to  4 no further than this number, 0: no end
-- Returns {epoch, delivered, read, 1 where read rose, 1 where either rose, n and time of the message that
-- is read up to}, or {} where there is no conversation. A mark above the last message is one of the last.
local head = head_of(KEYS[1])
if not head then
  return {}
end
local top = head.q
if tonumber(ARGV[4]) > 0 then
  top = math.min(top, tonumber(ARGV[4]))
end
local was_delivered, was_read = string.match(
  redis.call('HGET', KEYS[1], 'm:' .. ARGV[1]) or '0 0', '^(%d+) (%d+)$')
was_delivered, was_read = tonumber(was_delivered), tonumber(was_read)
local read = math.max(was_read, math.min(top, tonumber(ARGV[3])))
local delivered = math.max(was_delivered, read, math.min(top, tonumber(ARGV[2])))
if delivered > was_delivered or read > was_read then
  redis.call('HSET', KEYS[1], 'm:' .. ARGV[1], delivered .. ' ' .. read)
end
local n, time = head.bn, 0
if read > head.b then
  local value = redis.call('HGET', chunk_of(KEYS[1], head.birth, read), read .. '')
  if value then
    local _, _, its_time, its_n = parts(value)
    n, time = its_n, its_time
  end
end
return {head.e, delivered, read, read > was_read and 1 or 0,
  (delivered > was_delivered or read > was_read) and 1 or 0, n, time}
