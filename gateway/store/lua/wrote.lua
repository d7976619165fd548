-- For refer.lua, after row.lua. The user wrote the message whose n is `n`: it is not unread. Returns base,
-- time of the first unread, and runs.
local function wrote(base, first, runs, n)
  if n - 1 - base - own_above(runs, base) <= 0 then
    return n, 0, ''
  end
  local at = #runs - 4
  if at > 0 then
    local last, count = struct.unpack('>I4B', runs, at)
    if last == n - 1 and count < 255 then
      return base, first, string.sub(runs, 1, at - 1) .. struct.pack('>I4B', n, count + 1)
    end
  end
  runs = runs .. struct.pack('>I4B', n, 1)
  if #runs > 5 * RUNS then -- who answers so often has read what they answered
    return struct.unpack('>I4', runs), first, string.sub(runs, 6)
  end
  return base, first, runs
end

