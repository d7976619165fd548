#!lua flags=allow-oom
-- Messages of one conversation end: their records go, their numbers stay. After stored.lua.
--
-- KEYS  1 head  2 ttl list
-- ARGV  1 '' or the member of the due list, to take them off the ttl list  2 '' or now, ms: end only
--       what has ended by then  then the numbers
-- Returns how many there were.
local head, removed = redis.call('HMGET', KEYS[1], 'e', 'a'), 0
for i = 3, #ARGV do
  if head[1] then
    local chunk = chunk_of(KEYS[1], head[2] or head[1], tonumber(ARGV[i]))
    local value = redis.call('HGET', chunk, ARGV[i])
    if value then
      local _, flags, _, _, ends = parts(value)
      if bit.band(flags, OVER) == 0 and (ARGV[2] == '' or ends and ends <= tonumber(ARGV[2])) then
        redis.call('HSET', chunk, ARGV[i], stub(value))
        removed = removed + 1
      end
    end
  end
  if ARGV[1] ~= '' then
    redis.call('ZREM', KEYS[2], ARGV[1] .. ' ' .. ARGV[i])
  end
end
return removed
