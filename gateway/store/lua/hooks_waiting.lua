#!lua flags=no-writes
-- What waits in a bucket for the webhooks of an app, the oldest first; see happened.lua.
--
-- KEYS  1 hash
-- ARGV  1 how many at most  2 how many bytes at most, but for the first
-- Returns the head, '' where there is none, and the values.
local head = redis.call('HGET', KEYS[1], 'h')
if not head then
  return {''}
end
local _, _, first, last = struct.unpack('>I6I6I6I6', head, 9)
local found, left = {head}, tonumber(ARGV[2])
for number = first, math.min(last, first + tonumber(ARGV[1]) - 1) do
  local value = redis.call('HGET', KEYS[1], number .. '') or ''
  left = left - #value
  if left < 0 and number > first then
    break
  end
  found[#found + 1] = value
end
return found
