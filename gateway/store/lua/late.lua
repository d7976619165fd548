#!lua flags=allow-oom
-- Note that a gateway is late; notes that are over go.
--
-- KEYS  1 notes: sorted set of gateways by when their note is over, in ms
-- ARGV  1 gateway  2 now ms  3 when the note is over, ms
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return 1
