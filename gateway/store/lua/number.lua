-- Number one message of a conversation and keep it, once. After stored.lua, append.lua and happened.lua; refer.lua
-- comes after it, which tells those of two users whose inboxes share the conversation's bucket.
--
-- KEYS  1 head  2 dedupe  3 due list  4 ttl list  5 of a group: its state
--       or of two users, for each inbox that lies here: rows, inbox, channel
-- ARGV  1 '>I4I4I6I6I4BI6I6I4I4': epoch for what is new here, run of the server, now ms, retention ms,
--       dedupe window ms, which a repeat may lengthen, flags, when the message's own time to live ends or 0,
--       when somebody else should look after it, inbox cap, author
--       2 record  3 the conversation's member of the due list
--       4 '' or, for a group, the version of the member list that the sender goes by: of a repeat too, whose
--       references go to that list
--       5 the sender's member of the due list  6 event (happened.lua)
--       then for each inbox: its member of the due list, its user's name for the conversation
-- Returns '>BI2I2I4I4BI6' and PLACE: 1 new or 0 a repeat, dropped, keys gone, away, strange and strangers (refer.lua),
-- the message's time in ms; and the
-- stored message: without its record where it is new, '' where a repeat's is past its time. Or the group's
-- version as a number, if it is another; 0 where there is no group, or its head is lost (group_read.lua).
-- The dedupe key holds '>I4I6', the message's number and its time, and the birth of the numbering (head.lua):
-- with a numbering that is lost the message is, and its repeat is a new one.
local fresh, now, retention, window, flags, ends, look_after, cap, author =
  struct.unpack('>I4xxxxI6I6I4BI6I6I4I4', ARGV[1])
local due, sender, event, name, at, from, tops, rows = KEYS[3], ARGV[5], ARGV[6], '', 5, 7, {}, {}
local packed, dropped, seq, value = redis.call('HGET', KEYS[1], 'h'), 0, nil, nil
local away, strange, strangers = 0, 0, 0
if ARGV[4] ~= '' then
  local group = redis.call('HMGET', KEYS[5], 'v', 'gone')
  local version = packed and not group[2] and group[1] or '0'
  if version ~= ARGV[4] then
    return tonumber(version)
  end
else
  local key = 5
  for i = 7, #ARGV, 2 do
    local known = redis.call('HMGET', KEYS[key], '#', ARGV[i + 1])
    tops[i], rows[i], key = known[1], known[2], key + 3
  end
end
local q, n_before, d, fixed, gone = head_to_add(packed, string.sub(ARGV[1], 1, 4), string.sub(ARGV[1], 5, 8),
  due, ARGV[3])
if not packed then
  -- Somebody's row says that there was more lately than nothing: the due list is lost, too.
  for i, row in pairs(rows) do
    if row and struct.unpack('>I6', row, 13) + retention > now then
      gone = 1
    end
  end
end
local hooks = event ~= '' and hooks_of(due, ARGV[3])
local field, birth = q + 1 .. '', string.sub(fixed, 25, 28)
local mark = struct.pack('>I4I6', q + 1, now) .. birth
local first = redis.call('SET', KEYS[2], mark, 'NX', 'GET', 'PX', window)
if first and string.sub(first, 11) ~= birth then
  first = nil
  redis.call('SET', KEYS[2], mark, 'PX', window)
end
if first then
  -- Written again, so that a WAIT behind this answer also covers the write of the earlier try.
  redis.call('SET', KEYS[2], first, 'KEEPTTL')
  if window > 600000 then -- a repeat within a WebSocket's ten minutes makes nothing longer
    redis.call('PEXPIRE', KEYS[2], window, 'GT')
  end
  seq, now = struct.unpack('>I4I6', first)
  value = redis.call('HGET', chunk_of(KEYS[1], birth, seq), seq .. '') or ''
else
  value = append(KEYS[1], q, n_before, d, fixed, field, flags, now, author, ends, ARGV[2], due, ARGV[3],
    look_after)
  if type(value) ~= 'string' then
    redis.call('DEL', KEYS[2])
    return value
  end
  seq = q + 1
  if hooks and string.byte(event) % 2 == 1 then
    happened(hooks, due, event, 1, now, seq, '')
  end
  if ends ~= 0 then
    redis.call('ZADD', KEYS[4], ends, ARGV[3] .. ' ' .. field)
  end
end
local place = struct.pack('>I4', seq) .. string.sub(fixed, 1, 20)
if ARGV[4] ~= '' or value == '' then
  return struct.pack('>BI2I2I4I4BI6', first and 0 or 1, 0, gone, 0, 0, 0, now) .. place
    .. (first and value or string.sub(value, 1, 22))
end
