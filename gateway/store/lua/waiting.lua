-- For the scripts of an inbox's readers, after row.lua.

-- The numbering of an inbox: epoch or false, last number, how many references were taken from the head,
-- and 1 where one of the two keys is gone. What a list still holds without its hash gets new numbers.
local function numbering(rows, inbox)
  local known, length = redis.call('HGET', rows, '#'), redis.call('LLEN', inbox)
  if not known then
    return false, length, 0, length > 0 and 1 or 0
  end
  local epoch, top, base = struct.unpack(TOP, known)
  if top - base < length then
    return false, length, 0, 1
  end
  return epoch, top, top - length, top - base > length and 1 or 0
end

-- Whether number `seq`, of a message of time `ms`, can be one that the inbox gave: true where it is there,
-- nil where that is not known any more, false where it is not.
local function given(inbox, top, base, seq, ms)
  if seq > top then
    return false
  elseif seq <= base then
    return nil
  end
  local ref = redis.call('LINDEX', inbox, seq - base - 1)
  local _, time = struct.unpack(REF, ref)
  return time == ms
end

-- The references that follow number `start`: as many as hold `bytes`, but at least one.
local function refs_after(inbox, base, start, count, bytes)
  local from = math.max(start - base, 0)
  local refs = redis.call('LRANGE', inbox, from, from + count - 1)
  for i, ref in ipairs(refs) do
    local _, _, size = struct.unpack(REF, ref)
    bytes = bytes - (size == HOLE and 0 or size)
    if bytes < 0 and i > 1 then
      for j = #refs, i, -1 do
        refs[j] = nil
      end
      break
    end
  end
  return refs
end

