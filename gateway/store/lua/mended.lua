-- For refer.lua. Its functions use no local of the script: each one that a function uses costs each call.
-- Layouts are in row.lua.

-- What is to be added where a row is not that of the message before: references to what is missing too.
-- `said` is the user's interval, the rest is the message. Returns these, and the row from its base on; and
-- where the last of them is not the message itself, which is so for somebody who went before it, how the row
-- begins. Or nothing where the row has it all.
local function mended(row, name, said, seq, place, time, n, size)
  local e, z, zn, b, bn = struct.unpack('>I4I4I4I4I4', place, 5)
  local since, upto, since_n = struct.unpack('>I4I4I4', said)
  local last, lower, base = seq, b, bn
  if upto > 0 and upto < last then
    last = upto
  end
  if since > lower then
    lower, base = since, since_n
  end
  local row_n, row_time, first, read, floor, runs, hole = base, 0, 0, 0, 0, '', nil
  if row then
    local row_e, top, its_n, its_time, row_base, row_first, row_read, row_floor, _, _, at =
      struct.unpack('>I4I4I4I6I4I6I4I4I4I4', row)
    read, floor = row_read, row_floor
    if row_e ~= e and top > z then
      hole, top, its_n = z, z, zn
      read, floor = math.min(read, top), math.min(floor, top)
    end
    if top >= since then
      -- What is kept no more is not unread, nor what came before the user did.
      lower, base, row_n = math.max(top, b), math.max(math.min(row_base, its_n), bn, since_n), its_n
      row_time, first, runs = its_time, row_first, hole and '' or string.sub(row, at)
    end
  end
  if last <= lower and not hole then
    return
  end
  if last - 1 - lower > 256 then -- the rest is in the history
    lower, hole = last - 1 - 256, hole or lower
  end
  local refs = {}
  if hole then
    refs[1] = struct.pack('>I4I6I3', hole, time, 16777215) .. name
  end
  for missing = lower + 1, last - 1 do
    refs[#refs + 1] = struct.pack('>I4I6I3', missing, time, 0) .. name
  end
  if last > lower then
    refs[#refs + 1] = struct.pack('>I4I6I3', last, time, last == seq and size or 0) .. name
  end
  if last == seq and first == 0 and last - lower > 1 and n > base then
    first = row_time > 0 and row_time or time
  end
  if n <= base then
    base, first, runs = n, 0, ''
  end
  local rest = struct.pack('>I4I6I4I4I4I4', base, first, read, floor, since, upto) .. runs
  if last == seq then
    return refs, rest
  end
  return refs, rest, string.sub(place, 5, 8) .. struct.pack('>I4I4I6', math.max(last, lower), row_n, time)
end

-- The user wrote the message whose n is `n`. Takes and returns the row from its base on.
local function wrote(rest, n)
  local base = struct.unpack('>I4', rest)
  if base == n - 1 then -- nothing is unread
    return struct.pack('>I4I6', n, 0) .. string.sub(rest, 11)
  end
  local runs, own = string.sub(rest, 27), 0
  for at = 1, #runs, 5 do
    local its_n, count = struct.unpack('>I4B', runs, at)
    own = own + math.max(0, math.min(count, its_n - base))
  end
  if n - 1 - base - own <= 0 then
    return struct.pack('>I4I6', n, 0) .. string.sub(rest, 11, 26)
  end
  local at = #runs - 4
  local its_n, count = 0, 255
  if at > 0 then
    its_n, count = struct.unpack('>I4B', runs, at)
  end
  if its_n == n - 1 and count < 255 then
    return string.sub(rest, 1, 25 + at) .. struct.pack('>I4B', n, count + 1)
  end
  runs = runs .. struct.pack('>I4B', n, 1)
  if #runs > 80 then -- who answers so often has read what they answered
    return string.sub(runs, 1, 4) .. string.sub(rest, 5, 26) .. string.sub(runs, 6)
  end
  return string.sub(rest, 1, 26) .. runs
end

