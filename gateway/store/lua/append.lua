-- For the scripts that add to a conversation, after stored.lua. Layouts are in head.lua.

-- The head to add to: `packed`, or a new one where that is nil, of the epoch `fresh`; `run` is the server's
-- (4 bytes each). Returns q, n, d, what seldom changes, and 1 where the head was lost.
local function head_to_add(packed, fresh, run, due, member)
  if not packed then
    -- What is looked after in the due list was here: its head is lost, and what it left is shown to nobody.
    return 0, 0, 0, fresh .. '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' .. run .. fresh .. '\0',
      redis.call('ZSCORE', due, member) and 1 or 0
  end
  local q, n, _, d = struct.unpack('>I4I4I6I4', packed)
  local fixed = string.sub(packed, 19)
  if string.sub(fixed, 21, 24) ~= run then
    -- Another server gave the numbers: it may have known some that this one lost. A new epoch says so
    -- to every row (refer.lua); where nothing was lost, nobody notices.
    fixed = fresh .. struct.pack('>I4I4', q, n) .. string.sub(fixed, 13, 20) .. run .. string.sub(fixed, 25)
  end
  return q, n, d, fixed, 0
end

-- Stores one more message, as number `field`, the text of q + 1. Returns the stored message, or an error:
-- then nothing was stored.
local function append(key, q, n, d, fixed, field, flags, time, author, ends, record, due, member, look_after)
  n = n + flags % 2
  local value
  if ends == 0 then
    value = struct.pack('>BBI6I4I4', 0, flags, time, n, author) .. record
  else
    value = struct.pack('>BBI6I4I4I6', 0, flags + 4, time, n, author, ends) .. record
  end
  local stored = redis.pcall('HSET', chunk_of(key, string.sub(fixed, 25, 28), q + 1), field, value)
  if stored ~= 1 then
    return stored
  end
  if d == q then
    -- Until everyone is known to have a reference, somebody else should look after it (settled.lua).
    redis.call('ZADD', due, 'LT', look_after, member)
  end
  redis.call('HSET', key, 'h', struct.pack('>I4I4I6I4', q + 1, n, time, d) .. fixed)
  return value
end

