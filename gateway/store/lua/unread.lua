#!lua flags=allow-oom
-- Count what is unread in some conversations of one user.
--
-- KEYS  1 unread  then, for each conversation: waiting
-- ARGV  1 the first ms that is young enough  then the conversations
-- Returns a count for each.
local youngest, counts = tonumber(ARGV[1]), {}
for i = 2, #ARGV do
  local first = redis.call('LINDEX', KEYS[i], 0)
  while first and tonumber(first) < youngest do
    redis.call('LPOP', KEYS[i])
    first = redis.call('LINDEX', KEYS[i], 0)
  end
  counts[i - 1] = redis.call('LLEN', KEYS[i])
  if counts[i - 1] == 0 then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return counts
