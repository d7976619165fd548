#!lua flags=allow-oom
-- What somebody has read of a conversation is unread no longer; or it was found who wrote what. After row.lua.
--
-- KEYS  1 rows
-- ARGV  1 the conversation's name  2 its epoch  3 read up to  4 n and 5 time in ms of that message
--       6 deleted up to, or 0  7 '' or '>I4I4I4I4': base, low and high as they were when it was looked who wrote
--       these messages, and how many of them the user did
-- Returns the row, or '' where there is no such one.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then
  return ''
end
local e, top, n, t, base, first, read, floor, from, upto, own, at = struct.unpack(ROW, row)
if e ~= tonumber(ARGV[2]) then
  return '' -- the conversation was numbered anew meanwhile, and the next message says so
end
local unsure, now_base, after = string.sub(row, at), tonumber(ARGV[4]), 0
if unsure ~= '' then
  after = struct.unpack('>I4', unsure, 9)
end
if ARGV[7] ~= '' and string.sub(ARGV[7], 1, 12) == struct.pack('>I4', base) .. string.sub(unsure, 1, 8) then
  own, unsure, after = own + after + struct.unpack('>I4', ARGV[7], 13), '', 0
end
read = math.max(read, tonumber(ARGV[3]))
if first > 0 then
  first = math.max(first, tonumber(ARGV[5])) -- what is unread comes after that message, whatever its n
end
if now_base > base then
  base = math.min(now_base, n)
  if own > 0 or unsure ~= '' then -- which of them are above?
    own, unsure, after = 0, struct.pack('>I4I4I4', 0, top, 0), 0
  end
end
floor = math.max(floor, math.min(tonumber(ARGV[6]), top))
if n - base - own - after <= 0 then
  base, first, own, unsure = n, 0, 0, ''
end
row = struct.pack(ROW, e, top, n, t, base, first, read, floor, from, upto, own) .. unsure
redis.call('HSET', KEYS[1], ARGV[1], row)
return row
