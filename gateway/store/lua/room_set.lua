#!lua
-- Create a room, or change who may write there. After happened.lua.
--
-- KEYS  1 meta  2 due list
-- ARGV  1 now ms  2 retention ms  3 user, or * for the app itself, which may set every room
--       4 everyone or admins  5 admins, a space between each
--       6 epoch for a new room  7 member of the due list  8 run of the server
--       9 '1' where the room is that user's from now on  10 event (happened.lua)  11 bytes of a new room
-- Returns by how many bytes the room has grown, as text, or not_room_creator.
local known = redis.call('HMGET', KEYS[1], 'e', 'o', 'a')
if known[1] and known[2] ~= ARGV[3] and ARGV[3] ~= '*' then
  return 'not_room_creator'
end
if ARGV[10] ~= '' then
  happened(hooks_of(KEYS[2], ARGV[7]), KEYS[2], ARGV[10], 1, tonumber(ARGV[1]), 0, '')
end
if not known[1] then
  redis.call('HSET', KEYS[1], 'e', ARGV[6], 'q', '0', 't', '0', 'r', ARGV[8])
end
redis.call('HSET', KEYS[1], 'o', ARGV[9] ~= '1' and known[2] or ARGV[3], 'w', ARGV[4], 'a', ARGV[5], 'u', ARGV[1])
redis.call('PERSIST', KEYS[1])
redis.call('ZADD', KEYS[2], 'LT', tonumber(ARGV[1]) + tonumber(ARGV[2]), ARGV[7])
return #ARGV[5] - #(known[3] or '') + (known[1] and 0 or tonumber(ARGV[11])) .. ''
