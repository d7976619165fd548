#!lua flags=no-writes
-- A page of one user's conversations, newest first. After row.lua.
--
-- KEYS  1 rows
-- ARGV  1 2 of the last row of the page before: its time in ms and its name, or '' and ''
--       3 most rows  4 '1' for those only that may have unread messages
-- Returns {1 where there are more, then name and row of each}.
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 1) ~= '#' then
    local _, _, n, time, base, _, _, _, _, _, own = struct.unpack(ROW, all[i + 1])
    local earlier = ARGV[1] == '' or time < tonumber(ARGV[1])
      or time == tonumber(ARGV[1]) and all[i] > ARGV[2]
    if earlier and (ARGV[4] == '' or n - base - own > 0) then
      found[#found + 1] = {time, all[i], all[i + 1]}
    end
  end
end
table.sort(found, function(a, b)
  return a[1] > b[1] or a[1] == b[1] and a[2] < b[2]
end)
local most = tonumber(ARGV[3])
local page = {#found > most and 1 or 0}
for i = 1, math.min(most, #found) do
  page[#page + 1] = found[i][2]
  page[#page + 1] = found[i][3]
end
return page
