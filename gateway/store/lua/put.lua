#!lua flags=allow-oom
-- Write an app's record, if it is still as it was read: a certificate that has leaked is replaced on
-- a full Redis too. Two operators at once lose neither's change, and no change brings a deleted app
-- back.
--
-- KEYS  1 record
-- ARGV  1 its new value  2 its value as it was read, empty where there was none
-- Returns 1, or 0 where another has changed it: nothing is written.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
