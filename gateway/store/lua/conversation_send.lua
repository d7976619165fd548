#!lua
-- Number one message of a conversation and keep it, once; and tell those of two users whose inboxes
-- share its bucket. After stored.lua, head.lua, append.lua, row.lua, wrote.lua and refer.lua.
--
-- KEYS  1 head  2 dedupe  3 due list  4 ttl list  5 of a group: its state
--       or of two users, for each inbox that lies here: rows, inbox, channel
-- ARGV  1 '>I6I6I4I4I4BI6I6I4': now ms, retention ms, dedupe window ms, epoch for what is new here,
--       incarnation of the server, flags, when the message's own time to live ends or 0, when somebody
--       else should look after it, inbox cap
--       2 record  3 the conversation's member of the due list
--       4 '' or, for a group, the version of the member list that the sender goes by
--       then for each inbox: its user's name for the conversation, member of the due list, '1' for
--       the sender's own or ''
-- Returns '>BI2I2' and PLACE: 1 new or 0 a repeat, dropped, keys gone; seq, epoch, z, zn, b, bn; and the
-- stored message, without one where a repeat's is past its time. Or the group's version as a number,
-- 0 where there is none, if it is another.
local now, retention, window, fresh, run, flags, ends, look_after, cap =
  struct.unpack('>I6I6I4I4I4BI6I6I4', ARGV[1])
local first, tops, rows = false, {}, {}
if ARGV[4] ~= '' then
  first = redis.call('GET', KEYS[2])
  if not first then
    local group = redis.call('HMGET', KEYS[5], 'v', 'gone')
    local version = not group[2] and group[1] or '0'
    if version ~= ARGV[4] then
      return tonumber(version)
    end
  end
else
  for i = 5, #ARGV, 3 do
    local known = redis.call('HMGET', KEYS[i], '#', ARGV[i])
    tops[i], rows[i] = known[1], known[2]
  end
end
local head, gone = head_to_add(KEYS[1], fresh, run, KEYS[3], ARGV[3])
local dropped, field, value = 0, head.q + 1 .. '', nil
first = first or redis.call('SET', KEYS[2], field, 'NX', 'GET', 'PX', window)
if first then
  -- Written again, so that a WAIT behind this answer also covers the write of the earlier try.
  redis.call('SET', KEYS[2], first, 'KEEPTTL')
  value = redis.call('HGET', chunk_of(KEYS[1], head.birth, tonumber(first)), first)
else
  local failed = append(KEYS[1], head, field, flags, now, ends, ARGV[2], KEYS[3], ARGV[3], look_after)
  if failed then
    redis.call('DEL', KEYS[2])
    return failed
  end
  value = head.value
  if ends ~= 0 then
    redis.call('ZADD', KEYS[4], ends, ARGV[3] .. ' ' .. field)
  end
end
local seq = tonumber(first or field)
if value and ARGV[4] == '' then
  local _, its_flags, time, n = struct.unpack('>BBI6I4', value)
  local m = {
    e = head.e, seq = seq, n = n, time = time, counts = its_flags % 2 == 1, value = value, b = head.b,
    bn = head.bn, z = head.z, zn = head.zn, cap = cap, retention = retention, fresh = fresh, due = KEYS[3],
  }
  for i = 5, #ARGV, 3 do
    local more, lost = refer(tops[i], rows[i], KEYS[i], KEYS[i + 1], KEYS[i + 2], ARGV[i], ARGV[i + 1],
      ARGV[i + 2] ~= '', 0, 0, 0, m)
    dropped, gone = dropped + more, gone + lost
  end
end
return struct.pack('>BI2I2I4I4I4I4I4I4', first and 0 or 1, dropped, gone, seq, head.e, head.z, head.zn, head.b,
  head.bn) .. (first and value or string.sub(value or '', 1, 18))
