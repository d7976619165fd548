#!lua flags=allow-oom
-- A group as it is now, unless the asker has it already.
--
-- KEYS  1 state  2 head of its conversation  3 due list
-- ARGV  1 the version that the asker has, 0 for none  2 for a head that is lost: epoch, and run of the server,
--       4 bytes each  3 now ms  4 member of the due list
-- Returns {version, state, 1 where the head was lost}: version 0 where there is no group, an empty state where the
-- asker's version is the present one.
local known, lost = redis.call('HMGET', KEYS[1], 'v', 'gone'), 0
if known[1] and not known[2] and redis.call('HEXISTS', KEYS[2], 'h') == 0 then
  -- The numbers that members are in from are lost: they are in from the first of a new numbering. What the
  -- head left is not taken for the new one's (`birth`, head.lua).
  local state = redis.call('HGETALL', KEYS[1])
  lost = 1
  for i = 1, #state, 2 do
    local kind = string.sub(state[i], 1, 2)
    if kind == 'u:' then
      redis.call('HSET', KEYS[1], state[i], string.match(state[i + 1], '^%S+') .. ' 0 0')
    elseif kind == 'x:' then
      redis.call('HDEL', KEYS[1], state[i])
    end
  end
  known[1] = string.format('%.0f', tonumber(known[1]) + 1)
  redis.call('HSET', KEYS[1], 'v', known[1])
  redis.call('HSET', KEYS[2], 'h', struct.pack('>I4I4I6I4', 0, 0, tonumber(ARGV[3]), 0) .. string.sub(ARGV[2], 1, 4)
    .. string.rep('\0', 16) .. string.sub(ARGV[2], 5, 8) .. string.sub(ARGV[2], 1, 4) .. '\0')
  redis.call('ZADD', KEYS[3], 'NX', ARGV[3], ARGV[4])
end
if not known[1] or known[1] == ARGV[1] then
  return {known[1] or '0', {}, lost}
end
return {known[1], redis.call('HGETALL', KEYS[1]), lost}
