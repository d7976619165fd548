#!lua flags=no-writes
-- Some names of the keys of one primary. A script, because a link sends a command to the primary that has a key.
--
-- KEYS  1 a key that lies there
-- ARGV  1 where to go on, 0 at the begin  2 pattern of the names  3 about how many keys to look at
-- Returns {where to go on, names}, as SCAN does.
return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
