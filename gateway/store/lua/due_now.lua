#!lua flags=allow-oom
-- Make members of a due or ttl list due now, those that are still in it.
--
-- KEYS  1 list
-- ARGV  members
for _, member in ipairs(ARGV) do
  redis.call('ZADD', KEYS[1], 'XX', 0, member)
end
