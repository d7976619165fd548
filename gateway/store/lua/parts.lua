-- For the scripts that look into stored messages, after stored.lua.
local COUNTS, HIDDEN, ENDS, OVER = 1, 2, 4, 8

-- Returns change, flags, time, n, when it ends or 0, and where the record begins.
local function parts(value)
  local change, flags, time, n, at = struct.unpack('>BBI6I4', value)
  if bit.band(flags, ENDS) == 0 then
    return change, flags, time, n, 0, at
  end
  local ends, after = struct.unpack('>I6', value, at)
  return change, flags, time, n, ends, after
end

