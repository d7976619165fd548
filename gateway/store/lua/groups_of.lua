#!lua flags=no-writes
-- A page of the groups that a user is in: of the rows of groups, those without an end (row.lua).
--
-- KEYS  1 rows
-- ARGV  1 after this id, or ''  2 most ids
-- Returns {1 where there are more, then the ids in their order}.
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'g:' and string.sub(all[i + 1], 41, 44) == '\0\0\0\0'
    and string.sub(all[i], 3) > ARGV[1] then
    found[#found + 1] = string.sub(all[i], 3)
  end
end
table.sort(found)
local most = tonumber(ARGV[2])
local page = {#found > most and 1 or 0}
for i = 1, math.min(most, #found) do
  page[#page + 1] = found[i]
end
return page
