#!lua flags=no-writes
-- The last message of a conversation, for those who may lack a reference. After stored.lua and head.lua.
--
-- KEYS  1 head
-- Returns {seq, n, epoch, z, zn, b, bn, stored message}, or {} where there is none.
local known = redis.call('HMGET', KEYS[1], 'e', 'i')
local head = known[1] and head_of(KEYS[1], known[1], known[2])
local value = head and head.q > head.b
  and redis.call('HGET', chunk_of(KEYS[1], head.a, head.q), whole(head.q))
if not value then
  return {}
end
return {head.q, head.n, head.e, head.z, head.zn, head.b, head.bn, value}
