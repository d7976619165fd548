#!lua flags=allow-oom
-- Note what a walk through all keys of an app has found (storage.lua).
--
-- KEYS  1 what is stored
-- ARGV  1 bytes of what has no certain time  2 users  3 groups  4 rooms  5 now ms  6 how long this is remembered, ms
-- What was made since the walk before counts on top: the walk may have passed by its place.
local since = tonumber(redis.call('HGET', KEYS[1], 'c')) or 0
redis.call('HSET', KEYS[1], 's', string.format('%.0f', tonumber(ARGV[1]) + math.max(0, since)), 'c', 0,
  'users', ARGV[2], 'groups', ARGV[3], 'rooms', ARGV[4], 'at', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
