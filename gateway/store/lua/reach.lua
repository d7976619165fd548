#!lua flags=no-writes
-- Somebody got, or read, a conversation up to a time: which unread messages are the last of those?
--
-- KEYS  1 waiting
-- ARGV  1 delivered up to, ms  2 read up to, ms
-- Returns {delivered, read}: each the highest time in the list that is not above the claimed one, or
-- 0. So nobody claims more than what was there, and nothing is changed here.
local delivered, read = 0, 0
local claimed_delivered, claimed_read = tonumber(ARGV[1]), tonumber(ARGV[2])
for _, text in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local time = tonumber(text)
  if time <= claimed_delivered then
    delivered = math.max(delivered, time)
  end
  if time <= claimed_read then
    read = math.max(read, time)
  end
end
return {string.format('%.0f', delivered), string.format('%.0f', read)}
