-- For the scripts that add to a conversation, after stored.lua.
--
-- The head's fields: `e` the epoch of the numbering, 8 hex digits, and `a` the first one, which is in
-- the chunks' names, where it is another; `i` the incarnation of the server that gave the last number;
-- `q` the last number and `n` how many of them count as unread; `t` the last one's time; `b` the last
-- number that is kept no more, and `bn` its n; `d` up to which number everyone has a reference; `z`,
-- `zn` the last number, and its n, before the present epoch; `m:<user>` watermarks '<delivered> <read>'.

-- Reads a head. `fresh` is the epoch for a new numbering, `incarnation` that of the server.
local function head_of(key, fresh, incarnation)
  local known = redis.call('HMGET', key, 'e', 'i', 'a', 'q', 'n', 'd', 'z', 'zn', 'b', 'bn')
  local head = {
    key = key, e = known[1] or fresh, a = known[3] or known[1] or fresh,
    q = tonumber(known[4]) or 0, n = tonumber(known[5]) or 0,
    d = tonumber(known[6]) or 0, z = tonumber(known[7]) or 0, zn = tonumber(known[8]) or 0,
    b = tonumber(known[9]) or 0, bn = tonumber(known[10]) or 0, changes = {},
  }
  if not known[1] then
    head.new, head.changes = true, {'e', fresh, 'i', incarnation}
  elseif known[2] ~= incarnation then
    -- Another server gave the numbers: it may have known some that this one lost. A new epoch says so
    -- to every row (refer.lua); where nothing was lost, nobody notices.
    head.z, head.zn, head.e = head.q, head.n, fresh
    head.changes = {'e', fresh, 'i', incarnation, 'a', head.a, 'z', whole(head.q), 'zn', whole(head.n)}
  end
  return head
end

-- Stores one more message. Returns nil, or the error: then nothing was stored.
local function append(head, flags, time, ends, record, due, member, look_after)
  local seq, n = head.q + 1, head.n + bit.band(flags, COUNTS)
  local value = spelled(0, flags, time, n, ends, record)
  local stored = redis.pcall('HSET', chunk_of(head.key, head.a, seq), whole(seq), value)
  if type(stored) == 'table' and stored.err then
    return stored
  end
  if head.new or head.d == head.q then
    -- Until everyone is known to have a reference, somebody else should look after it (settled.lua).
    redis.call('ZADD', due, 'LT', look_after, member)
  end
  head.q, head.n, head.value = seq, n, value
  redis.call('HSET', head.key, 'q', whole(seq), 'n', whole(n), 't', whole(time), unpack(head.changes))
end

