-- For the scripts that change a stored message, after stored.lua and parts.lua.

-- A stored message as it is kept; the flags ENDS and NOTICED follow from `ends` and `notice`.
local function spelled(change, flags, time, n, author, ends, notice, record)
  local head, more = bit.band(flags, COUNTS + HIDDEN + OVER), ''
  if ends ~= 0 then
    head, more = head + ENDS, struct.pack('>I6', ends)
  end
  if notice ~= 0 then
    head, more = head + NOTICED, more .. struct.pack('>I4', notice)
  end
  return struct.pack('>BBI6I4I4', change, head, time, n, author) .. more .. record
end

-- What is kept of a message that has ended.
local function ended(value)
  local change, flags, time, n, author = parts(value)
  return spelled(change, bit.bor(flags, OVER), time, n, author, 0, 0, '')
end

