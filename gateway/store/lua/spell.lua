-- For the scripts that change a stored message, after stored.lua.
local function spelled(change, flags, time, n, ends, record)
  if ends ~= 0 then
    return struct.pack('>BBI6I4I6', change, flags, time, n, ends) .. record
  end
  return struct.pack('>BBI6I4', change, flags, time, n) .. record
end

