-- For the scripts of conversations: where a stored message lies, and how it is spelled.
--
-- A conversation is a hash, the head, and chunks: hashes of up to 128 messages, field = number. The
-- names of chunks are made here, of the head's: which one is needed is known only once the head was
-- read. They lie in the head's slot. A chunk is touched before the first write, or in a pcall whose
-- failure takes back the one write before it: while a cluster moves the slot, it may be elsewhere.
--
-- A stored message is '>BBI6I4I4': number of its last change, flags, time in ms, n, its author (CRC-32 of the
-- user's id); with ENDS I6, when its own time to live ends; with NOTICED I4, the number of the notice of its last
-- edit, which says the same text and goes with it; then the record. With OVER there is no record: it has
-- ended, and the rest stays until the tier's time is over, so that what is missing was lost.
--
-- Each function that a script contains costs every call of it 0.1 us, and as much each local of the script
-- that a function uses; each field of a hash that is read or written costs 0.5 us. Hence the packed values,
-- and functions that spell constants out.
local CHUNK = 128

-- `birth` names the numbering (4 bytes): where a head was lost, what it left is not taken for the next one's,
-- whether or not anything else tells that there was one.
local function chunk_of(head, birth, seq)
  return head .. ':' .. struct.unpack('>I4', birth) .. ':' .. (seq - seq % 128) / 128
end

