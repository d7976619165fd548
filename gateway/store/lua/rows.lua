#!lua flags=no-writes
-- A slice of one user's conversations: the newest of some of them. After row.lua.
--
-- KEYS  1 rows
-- ARGV  1 where the walk goes on, '0' at first  2 most rows looked at, about
--       3 4 only what follows these in the list, a time in ms and a name, or '' and ''
--       5 6 and only what does not follow these, or '' and ''
--       7 most rows  8 '1' for those only that may have unread messages
-- Returns {where the walk goes on, '0' at its end, how many fields there are, then name and row of each}.
local function follows(time, name, other_time, other_name)
  return time < other_time or time == other_time and name > other_name
end

local slice = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local all, found = slice[2], {}
local after, last = tonumber(ARGV[3]), tonumber(ARGV[5])
for i = 1, #all, 2 do
  local name = all[i]
  if string.sub(name, 1, 1) ~= '#' then
    local _, _, n, time, base, _, _, _, _, _, own = struct.unpack(ROW, all[i + 1])
    if (not after or follows(time, name, after, ARGV[4])) and (not last or not follows(time, name, last, ARGV[6]))
      and (ARGV[8] == '' or n - base - own > 0) then
      found[#found + 1] = {time, name, all[i + 1]}
    end
  end
end
table.sort(found, function(a, b)
  return a[1] > b[1] or a[1] == b[1] and a[2] < b[2]
end)
local page = {slice[1], redis.call('HLEN', KEYS[1])}
for i = 1, math.min(tonumber(ARGV[7]), #found) do
  page[#page + 1] = found[i][2]
  page[#page + 1] = found[i][3]
end
return page
