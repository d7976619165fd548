#!lua flags=allow-oom
-- Take what somebody has read, in one conversation, out of the unread.
--
-- KEYS  1 unread  2 waiting
-- ARGV  1 conversation  2 read up to, ms
local read = tonumber(ARGV[2])
-- In the order in which they came, which is that of their times but for a difference of clocks.
local times = redis.call('LRANGE', KEYS[2], 0, -1)
local head, left = 0, 0
for i, time in ipairs(times) do
  if tonumber(time) > read then
    left = left + 1
  elseif head == i - 1 then
    head = i
  else
    redis.call('LREM', KEYS[2], 1, time)
  end
end
if head > 0 then
  redis.call('LTRIM', KEYS[2], head, -1)
end
if left == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
