#!lua
-- Users of one bucket are in a group, or out of it, since a version.
--
-- KEYS  for each user: the groups the user is in, the fence
-- ARGV  1 group  2 version  3 how long a fence stands, ms  then, for each user: 'in' or 'out'
-- A gateway that comes late with an older version changes nothing.
local version = tonumber(ARGV[2])
for i = 4, #ARGV do
  local groups, fence = KEYS[2 * (i - 3) - 1], KEYS[2 * (i - 3)]
  local out = tonumber(redis.call('GET', fence) or '0')
  local since = tonumber(redis.call('HGET', groups, ARGV[1]) or '0')
  if ARGV[i] == 'in' then
    if version > out and version > since then
      redis.call('HSET', groups, ARGV[1], ARGV[2])
    end
  elseif version > out then
    redis.call('SET', fence, ARGV[2], 'PX', ARGV[3])
    if version > since then
      redis.call('HDEL', groups, ARGV[1])
    end
  end
end
return 1
