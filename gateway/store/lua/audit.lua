#!lua flags=allow-oom
-- Note what an operator did. The oldest notes go.
--
-- KEYS  1 list
-- ARGV  1 note  2 how many are kept
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
