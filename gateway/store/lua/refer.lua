-- Tell inboxes of one bucket of a message that its conversation holds, and of what is missing below it.
-- After mended.lua, shed.lua and happened.lua, and what sets these: `seq`, `value` (the stored message), `place`
-- (head.lua), `cap`, `retention` in ms, `fresh` (the epoch of a new inbox), `due` (the due list), `sender` (its
-- member there, or '?' where nobody knows it), `event` and `hooks` (happened.lua),
-- `name` (the conversation's for every inbox, or '' where each has its own), `at` (where KEYS has, for each
-- inbox, rows, inbox and channel), `from` (where ARGV has, for each, its member of the due list and the
-- user's name for the conversation or, with one name for all, the user's interval: '' or '>I4I4I4I4', since,
-- until, n of since, n of until), `tops` and `rows` (for each, by its place in ARGV, the rows' fields '#' and that of
-- the conversation); `dropped` and `gone`, to which it adds how many messages full inboxes dropped, and how
-- many keys were gone; `strangers`, those others than the sender who have never connected, `strange`, the bytes that it added for them, and
-- `away`, those for others with more than 64 references: what fewer need is counted with the user.
local _, flags_of, time, n = struct.unpack('>BBI6I4', value)
local counts, epoch_of = flags_of % 2 == 1, string.sub(place, 5, 8)
-- How the row of whoever has the message before begins, how it begins from now on, and the reference.
local before, stamp = epoch_of .. struct.pack('>I4', seq - 1), epoch_of .. struct.pack('>I4I4I6', seq, n, time)
local absent = {}
local ref, never, always = struct.pack('>I4I6I3', seq, time, #value), '\0\0\0\0\0\0', '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
for i = from, #ARGV, 2 do
  local its_name, said, top, row = name, ARGV[i + 1], tops[i], rows[i]
  if name == '' then
    its_name, said = said, always
  elseif said == '' then
    said = always
  end
  local refs, rest, begin, added, length = nil, nil, nil, 1, nil
  if row and string.sub(row, 1, 8) == before and string.sub(row, 37, 44) == string.sub(said, 1, 8)
    and sender ~= '?' and string.sub(said, 5, 8) == '\0\0\0\0' then -- for who went, mended() looks where the end is
    rest = string.sub(row, 19)
    length = redis.call('RPUSH', KEYS[at + 1], ref .. its_name)
  else
    local its_own = nil
    if sender ~= '?' then
      its_own = ARGV[i] == sender
    end
    refs, rest, begin = mended(row, its_name, said, seq, place, time, n, n - flags_of % 2, its_own, #value)
    if refs then
      added, length = #refs, redis.call('RPUSH', KEYS[at + 1], unpack(refs))
    elseif rest then
      redis.call('HSET', KEYS[at], its_name, begin .. rest)
    end
  end
  if length then
    local epoch, number, trimmed = fresh, 0, 0
    if top then
      epoch, number, trimmed = struct.unpack('>I4I6I6', top)
    else
      redis.call('ZADD', due, 'LT', time + retention, ARGV[i])
    end
    local met = top and #top > 16
    if not met and ARGV[i] ~= sender then
      -- As often as not there was nothing of the user, or of the conversation: keys, and a row.
      strangers = strangers + 1
      strange = strange + added * (16 + #its_name) + (row and 0 or 100 + #its_name) + (top and 0 or 600)
    elseif length > 64 then
      away = away + added * (16 + #its_name)
    end
    number = number + added
    if number - trimmed ~= length then
      -- The list or the hash is gone: what the list holds is numbered on, or anew under another epoch.
      gone = gone + 1
      redis.call('HDEL', KEYS[at], '#d')
      if number - length < trimmed then
        epoch, number = fresh, length
      end
      trimmed = number - length
    end
    if 2 * length > cap then
      local went, taken = shed(KEYS[at], KEYS[at + 1], its_name, seq, number, trimmed, length, cap)
      dropped, trimmed = dropped + went, trimmed + taken
    end
    if counts and not begin then
      if ARGV[i] == sender then
        rest = wrote(rest, n)
      elseif string.sub(rest, 5, 10) == never and n > struct.unpack('>I4', rest) then
        rest = string.sub(rest, 1, 4) .. string.sub(stamp, 13) .. string.sub(rest, 11)
      end
    end
    redis.call('HSET', KEYS[at], '#', struct.pack('>I4I6I6', epoch, number, trimmed) .. (met and '\1' or ''), its_name,
      (begin or stamp) .. rest)
    if not begin then
      local heard = redis.call('SPUBLISH', KEYS[at + 2],
        struct.pack('>BI8I4B', 1, number, seq, #its_name) .. its_name .. value)
      if heard == 0 and hooks and ARGV[i] ~= sender then
        absent[#absent + 1] = string.sub(ARGV[i], 34)
      end
    end
  end
  at = at + 3
end
if absent[1] and string.byte(event) > 1 then
  happened(hooks, due, event, 2, time, seq, table.concat(absent, ' '))
end
