-- For the scripts that tell inboxes of a message, after stored.lua and rows' layout in row.lua.

-- One message for one user. `top` and `row` are the rows' fields '#' and that of the conversation, which
-- the user calls `name`; `since`, `since_n`, `upto` the user's interval in it (0: no end). `m` is the
-- message: seq, n, time, counts, value; of its head e, z, zn, b, bn; and cap, retention, fresh (an epoch
-- for a new inbox), due. Adds what is missing below it too.
-- Returns how many messages a full inbox dropped, and how many keys were gone.
local function refer(top, row, rows, inbox, channel, name, member, own, since, since_n, upto, m)
  local last, lower, base = m.seq, m.b, m.bn
  if upto > 0 and upto < last then
    last = upto
  end
  if since > lower then
    lower, base = since, since_n
  end
  local row_n, row_time, first, read, floor, runs, hole = base, 0, 0, 0, 0, '', false
  if row then
    local e, row_top, n, time, row_base, row_first, row_read, row_floor, _, _, at = struct.unpack(ROW, row)
    read, floor = row_read, row_floor
    if e ~= m.e and row_top > m.z then
      hole, row_top, n = true, m.z, m.zn
      read, floor = math.min(read, row_top), math.min(floor, row_top)
    end
    if row_top >= since then
      lower, base, row_n, row_time, first = math.max(row_top, m.b), math.min(row_base, n), n, time, row_first
      if not hole and #row >= at then
        runs = string.sub(row, at)
      end
    end
  end
  if last <= lower and not hole then
    return 0, 0
  end
  if last - 1 - lower > HEAL then
    lower, hole = last - 1 - HEAL, true
  end
  local added, length = 1, nil
  local ref = struct.pack(REF, last, m.time, last == m.seq and #m.value or 0) .. name
  if last - lower == 1 and not hole then
    length = redis.call('RPUSH', inbox, ref)
  else
    local refs = {}
    if hole then
      refs[1] = struct.pack(REF, lower, m.time, HOLE) .. name
    end
    for seq = lower + 1, last - 1 do
      refs[#refs + 1] = struct.pack(REF, seq, m.time, 0) .. name
    end
    if last > lower then
      refs[#refs + 1] = ref
    end
    added, length = #refs, redis.call('RPUSH', inbox, unpack(refs))
  end

  local epoch, number, trimmed, dropped, gone = 0, 0, 0, 0, 0
  if top then
    epoch, number, trimmed = struct.unpack(TOP, top)
  else
    epoch = m.fresh
    redis.call('ZADD', m.due, 'LT', m.time + m.retention, member)
  end
  number = number + added
  if number - trimmed ~= length then
    -- The list or the hash is gone: what the list holds is numbered on, or anew under another epoch.
    gone = 1
    if number - length < trimmed then
      epoch, number = m.fresh, length
    end
    trimmed = number - length
  end
  if length > m.cap then
    dropped = length - m.cap
    redis.call('LPOP', inbox, dropped)
    trimmed = trimmed + dropped
  end

  if last == m.seq then
    row_n = m.n
    if own and m.counts then
      base, first, runs = wrote(base, first, runs, m.n)
    elseif first == 0 and m.n > base then
      first = (last - lower > 1 and row_time > 0) and row_time or m.time
    end
  end
  row = struct.pack(ROW, m.e, math.max(last, lower), row_n, m.time, base, first, read, floor, since, upto)
  redis.call('HSET', rows, '#', struct.pack(TOP, epoch, number, trimmed), name, row .. runs)
  if last == m.seq then
    redis.call('SPUBLISH', channel, struct.pack('>BI8I4B', 1, number, last, #name) .. name .. m.value)
  end
  return dropped, gone
end

