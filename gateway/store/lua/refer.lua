-- For the scripts that tell inboxes of a message, after row.lua.
--
-- What is the same for all of them is set here before: the message's number, PLACE of its conversation
-- (head.lua), its time, n, whether it counts as unread, and as it is stored; inbox cap, retention in ms,
-- epoch for a new inbox, and the due list.
local seq, place, time, n, counts, value, cap, retention, fresh, due
local HEAL, RUNS, ALWAYS = 256, 16, string.rep('\0', 12)

-- What is to be added where the row is not that of the message before: references to what is missing too.
-- Returns these, the number of the last, and of the row base, time of the first unread, what follows these
-- in it, and n; or nothing where the row has it all.
local function mended(row, name, said)
  local e, z, zn, b, bn = struct.unpack('>I4I4I4I4I4', place, 5)
  local since, upto, since_n = struct.unpack('>I4I4I4', said)
  local last, lower, base = seq, b, bn
  if upto > 0 and upto < last then
    last = upto
  end
  if since > lower then
    lower, base = since, since_n
  end
  local row_n, row_time, first, read, floor, runs, hole = base, 0, 0, 0, 0, '', false
  if row then
    local row_e, top, its_n, its_time, row_base, row_first, row_read, row_floor, _, _, at =
      struct.unpack(ROW, row)
    read, floor = row_read, row_floor
    if row_e ~= e and top > z then
      hole, top, its_n = true, z, zn
      read, floor = math.min(read, top), math.min(floor, top)
    end
    if top >= since then
      lower, base, row_n = math.max(top, b), math.min(row_base, its_n), its_n
      row_time, first, runs = its_time, row_first, hole and '' or string.sub(row, at)
    end
  end
  if last <= lower and not hole then
    return
  end
  if last - 1 - lower > HEAL then
    lower, hole = last - 1 - HEAL, true
  end
  local refs = {}
  if hole then
    refs[1] = struct.pack(REF, lower, time, HOLE) .. name
  end
  for missing = lower + 1, last - 1 do
    refs[#refs + 1] = struct.pack(REF, missing, time, 0) .. name
  end
  if last > lower then
    refs[#refs + 1] = struct.pack(REF, last, time, last == seq and #value or 0) .. name
  end
  if last == seq then
    row_n = n
    if first == 0 and last - lower > 1 and n > base then
      first = row_time > 0 and row_time or time
    end
  end
  return refs, math.max(last, lower), base, first,
    struct.pack('>I4I4I4I4', read, floor, since, upto) .. runs, row_n
end

-- The user wrote the message. Returns the row's base, time of the first unread, and what follows.
local function wrote(base, first, rest)
  local runs, own = string.sub(rest, 17), 0
  for at = 1, #runs, 5 do
    local its_n, count = struct.unpack('>I4B', runs, at)
    own = own + math.max(0, math.min(count, its_n - base))
  end
  if n - 1 - base - own <= 0 then
    return n, 0, string.sub(rest, 1, 16)
  end
  local at = #runs - 4
  local its_n, count = 0, 255
  if at > 0 then
    its_n, count = struct.unpack('>I4B', runs, at)
  end
  if its_n == n - 1 and count < 255 then
    return base, first, string.sub(rest, 1, 15 + at) .. struct.pack('>I4B', n, count + 1)
  end
  runs = runs .. struct.pack('>I4B', n, 1)
  if #runs > 5 * RUNS then -- who answers so often has read what they answered
    base, runs = struct.unpack('>I4', runs), string.sub(runs, 6)
  end
  return base, first, string.sub(rest, 1, 16) .. runs
end

-- The message for one user. `top` and `row` are the rows' fields '#' and that of the conversation, which
-- the user calls `name`; `said` is the user's interval in it, '>I4I4I4': since, until, n of since.
-- Returns how many messages a full inbox dropped, and how many keys were gone.
local function refer(top, row, rows, inbox, channel, name, member, own, said)
  local last, base, first, rest, row_n, length = seq, nil, nil, nil, n, nil
  local added = 1
  if row and struct.unpack('>I4', row, 5) == seq - 1 and string.sub(row, 1, 4) == string.sub(place, 5, 8)
    and string.sub(row, 37, 44) == string.sub(said, 1, 8) then
    base, first = struct.unpack('>I4I6', row, 19)
    rest = string.sub(row, 29)
    length = redis.call('RPUSH', inbox, struct.pack(REF, seq, time, #value) .. name)
  else
    local refs
    refs, last, base, first, rest, row_n = mended(row, name, said)
    if not refs then
      return 0, 0
    end
    added, length = #refs, redis.call('RPUSH', inbox, unpack(refs))
  end

  local epoch, number, trimmed, dropped, gone = fresh, 0, 0, 0, 0
  if top then
    epoch, number, trimmed = struct.unpack(TOP, top)
  else
    redis.call('ZADD', due, 'LT', time + retention, member)
  end
  number = number + added
  if number - trimmed ~= length then
    -- The list or the hash is gone: what the list holds is numbered on, or anew under another epoch.
    gone = 1
    if number - length < trimmed then
      epoch, number = fresh, length
    end
    trimmed = number - length
  end
  if length > cap then
    dropped = length - cap
    redis.call('LPOP', inbox, dropped)
    trimmed = trimmed + dropped
  end
  if counts and last == seq then
    if own then
      base, first, rest = wrote(base, first, rest)
    elseif first == 0 and n > base then
      first = time
    end
  end
  redis.call('HSET', rows, '#', struct.pack(TOP, epoch, number, trimmed),
    name, string.sub(place, 5, 8) .. struct.pack('>I4I4I6I4I6', last, row_n, time, base, first) .. rest)
  if last == seq then
    redis.call('SPUBLISH', channel, struct.pack('>BI8I4B', 1, number, seq, #name) .. name .. value)
  end
  return dropped, gone
end

