#!lua flags=allow-oom
-- Tokens of a user issued before a time are void, here and on every gateway that has a session.
--
-- KEYS  1 revocations  2 channel
-- ARGV  1 before ms  2 how long to remember, ms  3 event
-- An earlier time never takes back a later one.
local old = tonumber(redis.call('HGET', KEYS[1], 'before') or '0')
if old < tonumber(ARGV[1]) then
  local left = math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[2]))
  redis.call('HSET', KEYS[1], 'before', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
end
redis.call('SPUBLISH', KEYS[2], ARGV[3])
return 1
