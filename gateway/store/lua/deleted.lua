#!lua flags=allow-oom
-- Note that an app was deleted: who fills Redis can be deleted from a full one.
--
-- KEYS  1 deleted apps
-- ARGV  1 app id  2 now ms
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
