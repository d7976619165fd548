#!lua flags=allow-oom
-- Send numbers of a log again, or whatever it has to send since it was off: see hooks_log.lua.
--
-- KEYS  1 log  2 numbers to send  3 hooked
-- ARGV  1 member of hooked  2 now ms  3 '' or, where the endpoint is on again, anything  4 5 the first and the last
--       number
-- Returns how many are sent again; nothing where there is no log.
local head, again = redis.call('HGET', KEYS[1], 'h'), 0
if not head then
  return
end
local first, last = struct.unpack('>I6I6', head, 9)
if ARGV[3] ~= '' then
  redis.call('HDEL', KEYS[1], 'off', 'since')
end
for number = math.max(first, tonumber(ARGV[4])), math.min(last, tonumber(ARGV[5])) do
  if redis.call('HEXISTS', KEYS[1] .. ':' .. (number - number % 128) / 128, number .. '') == 1 then
    redis.call('ZADD', KEYS[2], ARGV[2], string.format('%012.0f', number))
    again = again + 1
  end
end
if redis.call('HEXISTS', KEYS[1], 'off') == 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
end
return again
