#!lua flags=allow-oom
-- Note that a gateway is late; notes that are over go.
--
-- KEYS  1 notes: sorted set of gateways by when their note is over, in ms
-- ARGV  1 gateway  2 now ms  3 when the note is over, ms
for _, over in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', ARGV[2], 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[1], over)
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3] - ARGV[2])
return 1
