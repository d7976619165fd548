#!lua flags=allow-oom
-- A gateway is at work: note that, and where nobody was for long, from when to when.
--
-- KEYS  1 stamp  2 clock
-- ARGV  1 how long counts as long, ms  2 how many such times are kept
-- Fields: seen, when a gateway was at work last; gap:<from> and until when, for each such time. Times
-- are Redis' own, in ms. Returns from when nobody was at work until now, or false. After now.lua.
local now = redis_now(KEYS[2])
local before = tonumber(redis.call('HGET', KEYS[1], 'seen'))
redis.call('HSET', KEYS[1], 'seen', string.format('%.0f', now))
if not before or now - before < tonumber(ARGV[1]) then
  return false
end
redis.call('HSET', KEYS[1], string.format('gap:%.0f', before), string.format('%.0f', now))
local gaps = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 4) == 'gap:' then
    table.insert(gaps, tonumber(string.sub(field, 5)))
  end
end
table.sort(gaps)
for i = 1, #gaps - tonumber(ARGV[2]) do
  redis.call('HDEL', KEYS[1], string.format('gap:%.0f', gaps[i]))
end
return string.format('%.0f', before)
