#!lua flags=no-writes
-- The last message of a conversation, for those who may lack a reference. After stored.lua and head.lua.
--
-- KEYS  1 head  2 of a group: its state
-- ARGV  1 '' or the version of the member list that the asker goes by
-- Returns PLACE and the stored message, or '' where there is none, or nobody lacks a reference. Or the group's
-- version as a number, if it is another; 0 where there is no group.
if ARGV[1] ~= '' then
  local version = redis.call('HGET', KEYS[2], 'v') or '0'
  if version ~= ARGV[1] then
    return tonumber(version)
  end
end
local head = head_of(KEYS[1])
local value = head and head.q > head.b and head.q > head.d
  and redis.call('HGET', chunk_of(KEYS[1], head.birth, head.q), head.q .. '')
if not value then
  return ''
end
return struct.pack('>I4', head.q) .. string.sub(head.fixed, 1, 20) .. value
