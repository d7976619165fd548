#!lua flags=allow-oom
-- A user is blocked or unblocked by another: the half that the blocked user's sessions go by.
--
-- KEYS  1 blocked by: a hash, blocker -> version, negative once unblocked, '' -> number of the
--         last change, and ' ' -> 1 where somebody unblocked  2 due list  3 channel
-- ARGV  1 blocker  2 version  3 '1' blocked, '0' unblocked  4 '1' if the blocker's half was changed
--       5 when the sweeper looks first, ms  6 member of the due list
-- Requests of several gateways may come in another order than their versions: the highest stays.
local blocker, version = ARGV[1], tonumber(ARGV[2])
local known = tonumber(redis.call('HGET', KEYS[1], blocker))
if ARGV[4] == '1' then
  if known and math.abs(known) >= version then
    return 0
  end
elseif not known or known < 0 or known > version then
  -- An unblock that found nothing to undo is here for what an earlier one left when it broke off.
  return 0
end
local change = redis.call('HINCRBY', KEYS[1], '', 1)
redis.call('HSET', KEYS[1], blocker, string.format('%.0f', ARGV[3] == '1' and version or -version))
if ARGV[3] ~= '1' then
  redis.call('HSET', KEYS[1], ' ', 1)
end
redis.call('ZADD', KEYS[2], 'NX', ARGV[5], ARGV[6])
redis.call('SPUBLISH', KEYS[3], '\21' .. struct.pack('>I8B', change, tonumber(ARGV[3])) .. blocker)
return 1
