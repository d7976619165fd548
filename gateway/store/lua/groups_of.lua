#!lua flags=no-writes
-- A slice of the groups that a user is in: of some rows of groups, those without an end (row.lua).
--
-- KEYS  1 rows
-- ARGV  1 where the walk goes on, '0' at first  2 most rows looked at, about
--       3 after this id, or ''
-- Returns {where the walk goes on, '0' at its end, how many fields there are, then the ids}.
local slice = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local all, page = slice[2], {slice[1], redis.call('HLEN', KEYS[1])}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'g:' and string.sub(all[i + 1], 41, 44) == '\0\0\0\0'
    and string.sub(all[i], 3) > ARGV[3] then
    page[#page + 1] = string.sub(all[i], 3)
  end
end
return page
