#!lua flags=allow-oom
-- Write a changed record of an app: a certificate that has leaked is replaced on a full Redis too.
--
-- KEYS  1 record
-- ARGV  1 its new value
redis.call('SET', KEYS[1], ARGV[1])
