#!lua flags=no-writes
-- Which is the last message of a conversation that is past its time? After stored.lua,
-- parts.lua and head.lua.
--
-- KEYS  1 head
-- ARGV  1 the first ms that is young enough  2 a number that it is not above
-- Returns {epoch, n of that message, time of the first one that is young enough, or 0}.
local head = head_of(KEYS[1])
if not head then
  return {-1, 0, 0}
end
local youngest, low, n = tonumber(ARGV[1]), head.b, head.bn
local high, time = math.min(head.q, tonumber(ARGV[2])) + 1, 0
-- Clocks of gateways differ by so little that times grow with numbers here.
while high - low > 1 do
  local middle = math.floor((low + high) / 2)
  local value = redis.call('HGET', chunk_of(KEYS[1], head.birth, middle), middle .. '')
  if not value then -- lost: as if it were past its time
    low = middle
  else
    local _, _, its_time, its_n = parts(value)
    if its_time < youngest then
      low, n = middle, its_n
    else
      high, time = middle, its_time
    end
  end
end
return {head.e, n, time}
