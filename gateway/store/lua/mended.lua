-- For refer.lua. Its functions use no local of the script: each one that a function uses costs each call.
-- Layouts are in row.lua.

-- What is to be added where a row is not that of the message before: references to what is missing too.
-- `said` is the user's interval; of the message, `before` is the n of the one before it, and `wrote` is true where
-- the user is its author, nil where nobody says. Returns these, and the row from its base on; and
-- where the last of them is not the message itself, which is so for somebody who went before it, how the row
-- begins. Where the row has it all, nothing; or no references, and a row that knows more of who wrote what.
local function mended(row, name, said, seq, place, time, n, before, wrote, size)
  local e, z, zn, b, bn = struct.unpack('>I4I4I4I4I4', place, 5)
  local since, upto, since_n, upto_n = struct.unpack('>I4I4I4I4', said)
  local last, last_n, lower, base = seq, n, b, bn
  if upto > 0 and upto < last then
    last, last_n = upto, upto_n
  end
  if since > lower then
    lower, base = since, since_n
  end
  local row_n, row_time, first, read, floor, own, unsure, hole = base, 0, 0, 0, 0, 0, '', nil
  if row then
    local row_e, top, its_n, its_time, row_base, row_first, row_read, row_floor, _, _, its_own, at =
      struct.unpack('>I4I4I4I6I4I6I4I4I4I4I4', row)
    local sure = string.sub(row, at)
    if last <= top and row_e == e then
      local low, high, after = 0, 0, 0
      if sure ~= '' then
        low, high, after = struct.unpack('>I4I4I4', sure)
      end
      if low + 1 ~= seq or wrote == nil then
        return
      end
      -- The next of those whose author was not known. Two gateways overlapped, say.
      if wrote and n > before and n > row_base then
        its_own = its_own + 1
      end
      sure = seq < high and struct.pack('>I4I4I4', seq, high, after) or ''
      its_own = sure == '' and its_own + after or its_own
      return nil, string.sub(row, 19, 44) .. struct.pack('>I4', its_own) .. sure, string.sub(row, 1, 18)
    end
    read, floor = row_read, row_floor
    if row_e ~= e and top > z then
      hole, top, its_n = z, z, zn
      read, floor = math.min(read, top), math.min(floor, top)
    end
    if top >= since then
      -- What is kept no more is not unread, nor what came before the user did.
      lower, base, row_n = math.max(top, b), math.max(math.min(row_base, its_n), bn, since_n), its_n
      row_time, first, own, unsure = its_time, row_first, its_own, sure
      if (hole or base > row_base) and (own > 0 or unsure ~= '') then
        own, unsure = 0, struct.pack('>I4I4I4', 0, lower, 0)
      end
    end
  end
  if last <= lower and not hole then
    return
  end
  -- Who wrote what is missing is not known here.
  local high, high_n = last, last_n
  if last == seq and wrote ~= nil then
    high, high_n = seq - 1, before
  end
  if high_n > math.max(row_n, base) then
    unsure = (unsure == '' and struct.pack('>I4', lower) or string.sub(unsure, 1, 4)) .. struct.pack('>I4I4', high, 0)
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
  last_n = math.max(last_n, row_n)
  if first == 0 and high_n > math.max(row_n, base) then
    first = math.max(row_time, 1)
  end
  if last_n <= base then
    base, first, own, unsure = last_n, 0, 0, ''
  end
  local rest = struct.pack('>I4I6I4I4I4I4I4', base, first, read, floor, since, upto, own) .. unsure
  if last == seq and last > lower then
    return refs, rest
  end
  return refs, rest, string.sub(place, 5, 8) .. struct.pack('>I4I4I6', math.max(last, lower), last_n, time)
end

-- The user wrote the message whose n is `n`. Takes and returns the row from its base on.
local function wrote(rest, n)
  local base, own = struct.unpack('>I4', rest), struct.unpack('>I4', rest, 27)
  if #rest > 30 then
    return string.sub(rest, 1, 38) .. struct.pack('>I4', struct.unpack('>I4', rest, 39) + 1)
  elseif n - 1 - base - own <= 0 then -- nothing is unread
    return struct.pack('>I4I6', n, 0) .. string.sub(rest, 11, 26) .. '\0\0\0\0'
  end
  return string.sub(rest, 1, 26) .. struct.pack('>I4', own + 1)
end

