#!lua flags=allow-oom
-- Messages of one conversation end: their records go, and those of the notices of their last edits; their
-- numbers stay. After stored.lua, parts.lua, head.lua and spell.lua.
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
      local _, flags, _, _, _, ends, notice = parts(value)
      if bit.band(flags, OVER) == 0 and (ARGV[2] == '' or ends ~= 0 and ends <= tonumber(ARGV[2])) then
        local its_chunk = chunk_of(KEYS[1], head.birth, notice)
        local told = notice ~= 0 and redis.call('HGET', its_chunk, notice .. '')
        if told then
          redis.call('HSET', its_chunk, notice .. '', ended(told))
        end
        redis.call('HSET', chunk, ARGV[i], ended(value))
        removed = removed + 1
      end
    end
  end
  if ARGV[1] ~= '' then
    redis.call('ZREM', KEYS[2], ARGV[1] .. ' ' .. ARGV[i])
  end
end
return removed
