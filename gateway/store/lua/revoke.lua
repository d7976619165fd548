#!lua flags=allow-oom
-- Tokens of a user issued before a time are void, here and on every gateway that has a session.
--
-- KEYS  1 revoked  2 channel
-- ARGV  1 before ms  2 how long to remember, ms  3 event
-- An earlier time never takes back a later one.
local old = tonumber(redis.call('GET', KEYS[1]) or '0')
if old < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
redis.call('SPUBLISH', KEYS[2], ARGV[3])
return 1
