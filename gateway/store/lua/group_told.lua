#!lua flags=allow-oom
-- The members of a group were told of every change up to a version.
--
-- KEYS  1 state  2 pending notices  3 due list
-- ARGV  1 version  2 when to look at the group again, ms  3 member of the due list
-- Returns how many notices are left.
local version = tonumber(ARGV[1])
while true do
  local notice = redis.call('LINDEX', KEYS[2], 0)
  if not notice or tonumber(string.match(notice, '^(%d+):')) > version then
    break
  end
  redis.call('LPOP', KEYS[2])
end
local left = redis.call('LLEN', KEYS[2])
if left == 0 then
  local known = redis.call('HMGET', KEYS[1], 'v', 'gone')
  if known[1] and not known[2] then
    redis.call('ZADD', KEYS[3], ARGV[2], ARGV[3])
  else
    redis.call('ZREM', KEYS[3], ARGV[3])
  end
end
return left
