-- For the scripts of conversations: how a stored message is spelled, and where it lies.
--
-- A conversation is a hash, the head, and chunks: hashes of up to 128 messages, field = number. The
-- names of chunks are made here, of the head's: which one is needed is known only once the head was
-- read. They lie in the head's slot. A chunk is touched before the first write, or in a pcall whose
-- failure takes back the one write before it: while a cluster moves the slot, it may be elsewhere.
--
-- A stored message is '>BBI6I4': number of its last change, flags, time in ms, n; with ENDS I6, when
-- its own time to live ends; then the record. With OVER there is no record: it has ended, and its
-- number, time and n stay until the tier's time is over, so that what is missing was lost.
local CHUNK, COUNTS, HIDDEN, ENDS, OVER = 128, 1, 2, 4, 8

local function whole(number)
  return string.format('%.0f', number) -- tostring() would round to 14 digits
end

local function chunk_of(head, birth, seq)
  return head .. ':' .. birth .. ':' .. whole(math.floor(seq / CHUNK))
end

-- Returns change, flags, time, n, when it ends or nil, and where the record begins.
local function parts(value)
  local change, flags, time, n, at = struct.unpack('>BBI6I4', value)
  if bit.band(flags, ENDS) == 0 then
    return change, flags, time, n, nil, at
  end
  local ends, after = struct.unpack('>I6', value, at)
  return change, flags, time, n, ends, after
end

local function spelled(change, flags, time, n, ends, record)
  if ends then
    return struct.pack('>BBI6I4I6', change, bit.bor(flags, ENDS), time, n, ends) .. record
  end
  return struct.pack('>BBI6I4', change, flags, time, n) .. record
end

-- What is left of a message that has ended.
local function stub(value)
  local change, flags, time, n = parts(value)
  return spelled(change, bit.bor(bit.band(flags, COUNTS + HIDDEN), OVER), time, n, nil, '')
end

