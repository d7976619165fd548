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
--
-- Each function that a script contains costs every call of it 0.1 us, and so does each field that is
-- read or written: hence the packed values.
local CHUNK, COUNTS, HIDDEN, ENDS, OVER = 128, 1, 2, 4, 8

-- `birth` is 0 but where a head was lost, so that what it left is not taken for the new head's.
local function chunk_of(head, birth, seq)
  if birth ~= 0 then
    head = head .. ':' .. birth
  end
  return head .. ':' .. (seq - seq % CHUNK) / CHUNK
end

-- Returns change, flags, time, n, when it ends or 0, and where the record begins.
local function parts(value)
  local change, flags, time, n, at = struct.unpack('>BBI6I4', value)
  if bit.band(flags, ENDS) == 0 then
    return change, flags, time, n, 0, at
  end
  local ends, after = struct.unpack('>I6', value, at)
  return change, flags, time, n, ends, after
end

