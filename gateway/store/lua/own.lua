#!lua
-- A user makes a group or a room, if they have not made too many.
--
-- KEYS  1 what the user made: a set  2 due list
-- ARGV  1 its name  2 most names  3 when the sweeper looks first, ms  4 member of the due list
-- Returns 1, or 0 where there are too many.
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return 1
end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[4])
return 1
