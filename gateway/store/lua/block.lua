#!lua flags=allow-oom
-- A user blocks or unblocks another: the blocker's half, where the order of such requests is made.
--
-- KEYS  1 blocks: a hash, blocked user -> 1, and '' -> version of the last change  2 due list
-- ARGV  1 other user  2 '1' to block, '0' to unblock  3 now ms  4 most blocks
--       5 when the sweeper looks first, ms  6 member of the due list
-- Returns {version, 1 if this changed something}, or {-1} where there are too many blocks.
local other, listed = ARGV[1], redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1
local last = tonumber(redis.call('HGET', KEYS[1], '')) or 0
if ARGV[2] == '0' and not listed then
  -- Nothing to undo, or the repeat of a request whose other half is missing.
  return {string.format('%.0f', last), 0}
end
if ARGV[2] == '1' and not listed and redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then
  return {'-1'}
end
-- By the clock too, so that versions go on where Redis came back with an older state.
local version = string.format('%.0f', math.max(last + 1, tonumber(ARGV[3])))
redis.call('HSET', KEYS[1], '', version)
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], other, 1)
else
  redis.call('HDEL', KEYS[1], other)
end
redis.call('ZADD', KEYS[2], 'NX', ARGV[5], ARGV[6])
return {version, 1}
