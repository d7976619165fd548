-- For the scripts that tell inboxes of a message, after stored.lua.
--
-- An inbox is a list of references, '>I4I6I3' and the name of the conversation as its user calls it:
-- number in the conversation, time in ms, bytes of the stored message (0: not known). With HOLE bytes it
-- is no message: what the user knows of the conversation above that number counts no more, and what is
-- below the next reference is to be read in the history.
--
-- Beside it lies a hash, the rows: `#e` epoch of the inbox, `#q` its last number, `#b` how many
-- references were taken from its head, `#t` when it was used last, as the sweeper found; and for each conversation, by its name, a row: '>I4I4I4I6I4I6I4I4I4I4':
--   epoch of the conversation; top, its n and time: the last number that is referred to;
--   base: the n from which unread is counted; time of the first unread, or 0; read: the watermark;
--   floor: the user deleted everything up to it; from, until: between these numbers the user is in it
-- then runs '>I4B' of what the user wrote above base: last n, how many.
local ROW, REF, HOLE, HEAL, RUNS = '>I4I4I4I6I4I6I4I4I4I4', '>I4I6I3', 16777215, 256, 16

-- How many of the messages above `base` the user wrote.
local function own_above(runs, base)
  local own = 0
  for at = 1, #runs, 5 do
    local n, count = struct.unpack('>I4B', runs, at)
    own = own + math.max(0, math.min(count, n - base))
  end
  return own
end

local function another_own(runs, n)
  local at = #runs - 4
  if at > 0 then
    local last, count = struct.unpack('>I4B', runs, at)
    if last == n - 1 and count < 255 then
      return string.sub(runs, 1, at - 1) .. struct.pack('>I4B', n, count + 1)
    end
  end
  return runs .. struct.pack('>I4B', n, 1)
end

local function rows_of(rows, name)
  return redis.call('HMGET', rows, '#e', '#q', '#b', name)
end

-- One message for one user. `known` is what `rows_of` said; `from`, `from_n`, `upto` the user's interval
-- in the conversation (0: no end). `m` is the message: e, seq, n, t, counts, value, and of its head b, bn,
-- z, zn; and cap, retention, fresh (an epoch for a new inbox), due. Adds what is missing below it too.
-- Returns how many messages a full inbox dropped, and how many keys were gone.
local function refer(known, rows, inbox, channel, name, member, own, from, from_n, upto, m)
  local last, lower, base = m.seq, m.b, m.bn
  if upto > 0 and upto < last then
    last = upto
  end
  if from > lower then
    lower, base = from, from_n
  end
  local top_n, top_t, first, read, floor, runs, hole = base, 0, 0, 0, 0, '', false
  if known[4] then
    local e, top, n, t, row_base, row_first, row_read, row_floor, _, _, at = struct.unpack(ROW, known[4])
    read, floor = row_read, row_floor
    if e ~= m.e and top > m.z then
      hole, top, n = true, m.z, m.zn
      read, floor = math.min(read, top), math.min(floor, top)
    end
    if top >= from then
      lower, base, top_n, top_t, first = math.max(top, m.b), math.min(row_base, n), n, t, row_first
      runs = hole and '' or string.sub(known[4], at)
    end
  end
  if last <= lower and not hole then
    return 0, 0
  end
  if last - 1 - lower > HEAL then
    lower, hole = last - 1 - HEAL, true
  end
  local refs = {}
  if hole then
    refs[1] = struct.pack(REF, lower, m.t, HOLE) .. name
  end
  for seq = lower + 1, last - 1 do
    refs[#refs + 1] = struct.pack(REF, seq, m.t, 0) .. name
  end
  if last > lower then
    refs[#refs + 1] = struct.pack(REF, last, m.t, last == m.seq and #m.value or 0) .. name
  end

  local length = redis.call('RPUSH', inbox, unpack(refs))
  local epoch, number, gone = known[1], (tonumber(known[2]) or 0) + #refs, 0
  local before, dropped = tonumber(known[3]) or 0, 0
  local trimmed = number - length
  if trimmed ~= before then
    -- The list or the hash is gone: what the list holds is numbered on, or anew under another epoch.
    gone = 1
    if trimmed < before then
      epoch, number, trimmed = nil, length, 0
    end
  end
  if length > m.cap then
    dropped = length - m.cap
    redis.call('LPOP', inbox, dropped)
    trimmed = trimmed + dropped
  end

  if last == m.seq then
    top_n = m.n
    if m.counts and own then
      if m.n - 1 - base - own_above(runs, base) <= 0 then
        base, first, runs = m.n, 0, ''
      else
        runs = another_own(runs, m.n)
        if #runs > 5 * RUNS then
          base, runs = struct.unpack('>I4', runs), string.sub(runs, 6)
        end
      end
    elseif first == 0 and m.n > base then
      first = (last - lower > 1 and top_t > 0) and top_t or m.t
    end
  end
  local row = struct.pack(ROW, m.e, math.max(last, lower), top_n, m.t, base, first, read, floor, from, upto)
    .. runs
  if epoch and trimmed == before then
    redis.call('HSET', rows, '#q', whole(number), name, row)
  else
    redis.call('HSET', rows, '#q', whole(number), name, row, '#b', whole(trimmed), '#e', epoch or m.fresh)
    if not epoch then
      redis.call('ZADD', m.due, 'LT', m.t + m.retention, member)
    end
  end
  if last == m.seq then
    redis.call('SPUBLISH', channel, struct.pack('>BI8I4B', 1, number, m.seq, #name) .. name .. m.value)
  end
  return dropped, gone
end

