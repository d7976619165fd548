#!lua flags=no-writes
-- The last message of a conversation, for those who may lack a reference. After stored.lua and head.lua.
--
-- KEYS  1 head
-- Returns PLACE and the stored message, or '' where there is none.
local head = head_of(KEYS[1])
local value = head and head.q > head.b
  and redis.call('HGET', chunk_of(KEYS[1], head.birth, head.q), head.q .. '')
if not value then
  return ''
end
return struct.pack('>I4', head.q) .. string.sub(head.fixed, 1, 20) .. value
