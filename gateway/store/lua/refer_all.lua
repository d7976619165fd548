-- Shared by references.lua and references_full.lua, after row.lua and refer.lua: tell the inboxes of one
-- bucket of a message that its conversation holds, and of what is missing below it. A repeat adds nothing.
--
-- KEYS  1 due list  then for each inbox: rows, inbox, channel
-- ARGV  1 PLACE, as the conversation's script said  2 stored message
--       3 '>I4I6I4': inbox cap, retention ms, epoch for a new inbox  4 the sender's member of the due list
--       5 the conversation's name for every inbox, or '' where each has its own
--       then for each inbox: its member of the due list; and its name for the conversation or, with
--       one name for all, the user's interval: '' or '>I4I4I4', since, until, n of since
-- Returns {dropped, keys gone}, or 0 where there is nothing to say.
local flags, _
seq, place, value, due = struct.unpack('>I4', ARGV[1]), ARGV[1], ARGV[2], KEYS[1]
_, flags, time, n = struct.unpack('>BBI6I4', value)
counts = flags % 2 == 1
cap, retention, fresh = struct.unpack('>I4I6I4', ARGV[3])
local sender, name, tops, rows, dropped, gone, at = ARGV[4], ARGV[5], {}, {}, 0, 0, 2
for i = 6, #ARGV, 2 do
  local known = redis.call('HMGET', KEYS[at], '#', name ~= '' and name or ARGV[i + 1])
  tops[i], rows[i], at = known[1], known[2], at + 3
end
at = 2
for i = 6, #ARGV, 2 do
  local its_name, said = name, ARGV[i + 1]
  if name == '' then
    its_name, said = said, ALWAYS
  elseif said == '' then
    said = ALWAYS
  end
  local more, lost = refer(tops[i], rows[i], KEYS[at], KEYS[at + 1], KEYS[at + 2], its_name, ARGV[i],
    ARGV[i] == sender, said)
  dropped, gone, at = dropped + more, gone + lost, at + 3
end
if dropped + gone > 0 then
  return {dropped, gone}
end
return 0
