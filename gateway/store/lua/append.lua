-- For the scripts that add to a conversation, after stored.lua and head.lua.

-- The head to add to. `fresh` is the epoch for a new numbering, `run` the server's incarnation.
-- Returns it, and 1 where it was lost: it is looked after in the due list, so it was there.
local function head_to_add(key, fresh, run, due, member)
  local head = head_of(key)
  if not head then
    local lost = redis.call('ZSCORE', due, member) and 1 or 0
    return {
      e = fresh, run = run, birth = lost * fresh, q = 0, n = 0, d = 0, z = 0, zn = 0, b = 0, bn = 0,
      time = 0, over = 0,
    }, lost
  elseif head.run ~= run then
    -- Another server gave the numbers: it may have known some that this one lost. A new epoch says so
    -- to every row (refer.lua); where nothing was lost, nobody notices.
    head.z, head.zn, head.e, head.run = head.q, head.n, fresh, run
  end
  return head, 0
end

-- Stores one more message as number `field`, the text of head.q + 1. Returns nil, or the error: then
-- nothing was stored. head.value is what was stored.
local function append(key, head, field, flags, time, ends, record, due, member, look_after)
  local n = head.n + flags % 2
  local value = struct.pack('>BBI6I4', 0, flags, time, n)
  if ends ~= 0 then
    value = struct.pack('>BBI6I4I6', 0, flags + ENDS, time, n, ends)
  end
  value = value .. record
  local stored = redis.pcall('HSET', chunk_of(key, head.birth, head.q + 1), field, value)
  if stored ~= 1 then
    return stored
  end
  if head.d == head.q then
    -- Until everyone is known to have a reference, somebody else should look after it (settled.lua).
    redis.call('ZADD', due, 'LT', look_after, member)
  end
  head.q, head.n, head.time, head.value = head.q + 1, n, time, value
  save(key, head)
end

