#!lua flags=no-writes
-- Records of an endpoint's log, with the attempts to send them: see hooks_log.lua.
--
-- KEYS  1 log
-- ARGV  1 how many bytes at most, but for the first  then the numbers
-- Returns the head, and for each number record and attempts, '' where there is none; fewer where bytes ran out.
local found, left = {redis.call('HGET', KEYS[1], 'h') or ''}, tonumber(ARGV[1])
for i = 2, #ARGV do
  local number = tonumber(ARGV[i])
  local values = redis.call('HMGET', KEYS[1] .. ':' .. (number - number % 128) / 128, ARGV[i], 'a' .. ARGV[i])
  local record, attempts = values[1] or '', values[2] or ''
  left = left - #record - #attempts
  if left < 0 and i > 2 then
    break
  end
  found[#found + 1] = record
  found[#found + 1] = attempts
end
return found
