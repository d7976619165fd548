#!lua
-- A connected device says whether its user is there, and perhaps what the user's status is.
--
-- KEYS  1 meta  2 presence channel
-- ARGV  1 device  2 'online' or 'away'  3 '1' where a status is given  4 it, sealed; empty clears it
-- Returns 1, or 0 where the device is not known.
local all, known = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  known[all[i]] = true
end
if not known['d:' .. ARGV[1]] then
  return 0
end
-- Marks of devices that were forgotten meanwhile mean nothing.
for name in pairs(known) do
  if string.sub(name, 1, 2) == 'a:' and not known['d:' .. string.sub(name, 3)] then
    redis.call('HDEL', KEYS[1], name)
  end
end
if ARGV[2] == 'away' then
  redis.call('HSET', KEYS[1], 'a:' .. ARGV[1], 1)
else
  redis.call('HDEL', KEYS[1], 'a:' .. ARGV[1])
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'p', ARGV[4])
elseif ARGV[3] == '1' then
  redis.call('HDEL', KEYS[1], 'p')
end
redis.call('SPUBLISH', KEYS[2], 's')
return 1
