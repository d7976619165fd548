#!lua
-- Change a group, if nobody else has meanwhile, and note what its members must be told.
--
-- KEYS  1 state  2 pending notices  3 due list  4 log  5 meta of the log
-- ARGV  1 the version to change, 0 for none  2 the new version  3 notice
--       4 when somebody else should look after the notice, ms  5 member of the due list
--       6 '', or how long to remember that the group is gone, ms  7 the log's member of the due list
--       then pairs: field of the state, its value or '' for none
-- Returns 1, or 0 where the group has another version by now.
if (redis.call('HGET', KEYS[1], 'v') or '0') ~= ARGV[1] then
  return 0
end
if ARGV[6] ~= '' then
  redis.call('DEL', KEYS[1])
  redis.call('UNLINK', KEYS[4], KEYS[5]) -- it may be long: freed beside other commands
  redis.call('ZREM', KEYS[3], ARGV[7])
end
for i = 8, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('HSET', KEYS[1], 'v', ARGV[2])
if ARGV[6] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[5])
return 1
