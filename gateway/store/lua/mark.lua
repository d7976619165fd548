#!lua flags=allow-oom
-- Raise one person's watermarks in a conversation.
--
-- KEYS  1 marks
-- ARGV  1 user  2 delivered up to, ms  3 read up to, ms  4 how long they are kept, ms
-- Returns {delivered, read, 1 where read rose, 1 where either rose}.
local old = redis.call('HGET', KEYS[1], ARGV[1]) or '0 0'
local delivered, read = string.match(old, '^(%d+) (%d+)$')
local new_delivered, new_read = delivered, read
if tonumber(ARGV[3]) > tonumber(read) then
  new_read = ARGV[3]
end
if tonumber(ARGV[2]) > tonumber(delivered) then
  new_delivered = ARGV[2]
end
redis.call('HSET', KEYS[1], ARGV[1], new_delivered .. ' ' .. new_read)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local read_rose = new_read ~= read and 1 or 0
return {new_delivered, new_read, read_rose, (new_delivered ~= delivered) and 1 or read_rose}
