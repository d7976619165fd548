#!lua flags=no-writes
-- A group as it is now, unless the asker has it already, and what its members were not told yet.
--
-- KEYS  1 state  2 pending notices
-- ARGV  1 the version that the asker has, 0 for none
-- Returns {version, state, notices}: version 0 where there is no group, an empty state where the
-- asker's version is the present one.
local version = redis.call('HGET', KEYS[1], 'v') or '0'
local state = {}
if version ~= ARGV[1] then
  state = redis.call('HGETALL', KEYS[1])
end
return {version, state, redis.call('LRANGE', KEYS[2], 0, -1)}
