-- For the scripts that look into stored messages, after stored.lua.
local COUNTS, HIDDEN, ENDS, OVER, NOTICED = 1, 2, 4, 8, 16

-- Returns change, flags, time, n, author, when it ends or 0, and the number of the notice of its last edit or 0.
local function parts(value)
  local change, flags, time, n, author, at = struct.unpack('>BBI6I4I4', value)
  local ends, notice = 0, 0
  if bit.band(flags, ENDS) ~= 0 then
    ends, at = struct.unpack('>I6', value, at)
  end
  if bit.band(flags, NOTICED) ~= 0 then
    notice = struct.unpack('>I4', value, at)
  end
  return change, flags, time, n, author, ends, notice
end

