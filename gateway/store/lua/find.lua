#!lua flags=no-writes
-- The entry of one message in a stream, near the time at which it was sent.
--
-- KEYS  1 stream
-- ARGV  1 message id, 16 bytes  2 from when on to look, ms  3 most entries to look at
-- Returns the entry, or nothing.
return find(KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
