-- For references.lua and references_full.lua, before refer.lua.
--
-- KEYS  1 due list  then for each inbox: rows, inbox, channel
-- ARGV  1 PLACE, as the conversation's script said  2 stored message
--       3 '>I4I6I4': inbox cap, retention ms, epoch for a new inbox  4 the sender's member of the due list
--       5 event (happened.lua)  6 the conversation's name for every inbox, or '' where each has its own
--       then for each inbox, as refer.lua says: its member of the due list, and its name or interval
-- Returns {dropped, keys gone, away, strange, strangers}, or 0 where there is nothing to say. A repeat adds nothing.
local seq, place, value, due = struct.unpack('>I4', ARGV[1]), ARGV[1], ARGV[2], KEYS[1]
local cap, retention, fresh = struct.unpack('>I4I6I4', ARGV[3])
local sender, event, name, at, from, tops, rows, dropped, gone = ARGV[4], ARGV[5], ARGV[6], 2, 7, {}, {}, 0, 0
local away, strange, strangers = 0, 0, 0
local hooks = event ~= '' and hooks_of(due, ARGV[7])
for i = from, #ARGV, 2 do
  local known = redis.call('HMGET', KEYS[3 * (i - 7) / 2 + 2], '#', name ~= '' and name or ARGV[i + 1])
  tops[i], rows[i] = known[1], known[2]
end
