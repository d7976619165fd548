#!lua flags=no-writes
-- Which is the last message of a conversation that is past its time? After stored.lua.
--
-- KEYS  1 head
-- ARGV  1 the first ms that is young enough  2 a number that it is not above
-- Returns {epoch, n of that message, time of the first one that is young enough, or 0}.
local head = redis.call('HMGET', KEYS[1], 'e', 'a', 'q', 'b', 'bn')
if not head[1] then
  return {'', 0, 0}
end
local youngest, birth = tonumber(ARGV[1]), head[2] or head[1]
local low, n = tonumber(head[4]) or 0, tonumber(head[5]) or 0
local high, time = math.min(tonumber(head[3]), tonumber(ARGV[2])) + 1, 0
-- Clocks of gateways differ by so little that times grow with numbers here.
while high - low > 1 do
  local middle = math.floor((low + high) / 2)
  local value = redis.call('HGET', chunk_of(KEYS[1], birth, middle), whole(middle))
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
return {head[1], n, time}
