-- Somebody got, or read, a conversation up to a time: does it exist, and what is unread after it?
--
-- KEYS  1 talks  2 unread  3 waiting
-- ARGV  1 conversation  2 the highest time that is claimed, ms  3 read up to, ms
--       4 how long what waits is kept, ms
-- Returns 'none' where the user has no message in the conversation, 'ahead' where its newest is
-- older than what is claimed, and else 'ok'. Repeating it changes nothing.
local newest = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not newest then
  return 'none'
end
if tonumber(ARGV[2]) > tonumber(newest) then
  return 'ahead'
end
local read = tonumber(ARGV[3])
if read == 0 then
  return 'ok'
end

-- In the order in which they came, which is that of their times but for a difference of clocks.
local times = redis.call('LRANGE', KEYS[3], 0, -1)
local head, left = 0, 0
for i, time in ipairs(times) do
  if tonumber(time) > read then
    left = left + 1
  elseif head == i - 1 then
    head = i
  else
    redis.call('LREM', KEYS[3], 1, time)
  end
end
if head > 0 then
  redis.call('LTRIM', KEYS[3], head, -1)
end
if left == 0 then
  redis.call('HDEL', KEYS[2], ARGV[1])
elseif left < #times then
  redis.call('HSET', KEYS[2], ARGV[1], left)
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
end
return 'ok'
