#!lua
-- Write and publish as a send does, so that it fails where a send would.
--
-- KEYS  1 what is written, and the channel
-- ARGV  1 what to publish  2 how long what is written stays, ms
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
redis.call('SPUBLISH', KEYS[1], ARGV[1])
