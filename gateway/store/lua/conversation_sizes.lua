#!lua flags=no-writes
-- How large is one message of each of some conversations of one bucket? After stored.lua and head.lua.
--
-- KEYS  the heads
-- ARGV  for each head a number
-- Returns for each the bytes of the stored message, 0 where there is none.
local sizes = {}
for i = 1, #KEYS do
  local head = head_of(KEYS[i])
  sizes[i] = head and redis.call('HSTRLEN', chunk_of(KEYS[i], head.birth, tonumber(ARGV[i])), ARGV[i]) or 0
end
return sizes
