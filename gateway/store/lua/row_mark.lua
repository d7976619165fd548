#!lua flags=allow-oom
-- What somebody has read of a conversation is unread no longer. After row.lua.
--
-- KEYS  1 rows
-- ARGV  1 the conversation's name  2 its epoch  3 read up to  4 n and 5 time in ms of that message
--       6 deleted up to, or 0
-- Returns how many are unread, or -1 where there is no such row.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then
  return -1
end
local e, top, n, t, base, first, read, floor, from, upto, at = struct.unpack(ROW, row)
if e ~= tonumber(ARGV[2]) then
  return -1 -- the conversation was numbered anew meanwhile, and the next message says so
end
local runs = string.sub(row, at)
if tonumber(ARGV[3]) > read then
  read = tonumber(ARGV[3])
end
if tonumber(ARGV[4]) > base then
  base = math.min(tonumber(ARGV[4]), n)
  local left = ''
  for place = 1, #runs, 5 do
    local last, count = struct.unpack('>I4B', runs, place)
    if last > base then
      left = left .. struct.pack('>I4B', last, math.min(count, last - base))
    end
  end
  runs, first = left, math.max(first, tonumber(ARGV[5]))
end
floor = math.max(floor, math.min(tonumber(ARGV[6]), top))
local unread = n - base - own_above(runs, base)
if unread <= 0 then
  base, runs, first, unread = n, '', 0, 0
end
redis.call('HSET', KEYS[1], ARGV[1],
  struct.pack(ROW, e, top, n, t, base, first, read, floor, from, upto) .. runs)
return unread
