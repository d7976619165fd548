#!lua flags=allow-oom
-- Messages of one conversation end: their records go, their numbers stay. After
-- stored.lua, parts.lua, head.lua and spell.lua.
--
-- KEYS  1 head  2 ttl list
-- ARGV  1 '' or the member of the due list, to take them off the ttl list  2 '' or now, ms: end only
--       what has ended by then  then the numbers
-- Returns how many there were.
local head, removed = head_of(KEYS[1]), 0
for i = 3, #ARGV do
  if head then
    local chunk = chunk_of(KEYS[1], head.birth, tonumber(ARGV[i]))
    local value = redis.call('HGET', chunk, ARGV[i])
    if value then
      local change, flags, time, n, ends = parts(value)
      if bit.band(flags, OVER) == 0 and (ARGV[2] == '' or ends ~= 0 and ends <= tonumber(ARGV[2])) then
        flags = bit.band(flags, COUNTS + HIDDEN) + OVER
        redis.call('HSET', chunk, ARGV[i], spelled(change, flags, time, n, 0, ''))
        removed = removed + 1
      end
    end
  end
  if ARGV[1] ~= '' then
    redis.call('ZREM', KEYS[2], ARGV[1] .. ' ' .. ARGV[i])
  end
end
return removed
