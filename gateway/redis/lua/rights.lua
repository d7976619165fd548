#!lua flags=no-writes
-- Which commands the user of this connection may not run. Nothing is run: Redis is asked.
--
-- ARGV  1 a command, its words by lines  2 command …
-- Returns the places of those that are refused.
local refused = {}
for place, line in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(line, '[^\n]+') do words[#words + 1] = word end
  local known, may = pcall(redis.acl_check_cmd, unpack(words))
  if not (known and may) then refused[#refused + 1] = place end
end
return refused
