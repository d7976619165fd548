#!lua
-- Number one message of a conversation and keep it, once; and tell those of two users whose inboxes
-- share its bucket. After stored.lua, refer.lua and head.lua.
--
-- KEYS  1 head  2 dedupe  3 due list  4 ttl list  5 of a group: its state
--       or of two users, for each inbox that lies here: rows, inbox, channel
-- ARGV  1 now ms  2 retention ms  3 dedupe window ms  4 epoch for what is new here
--       5 incarnation of the server  6 flags  7 when the message's own time to live ends, ms, or ''
--       8 record  9 the conversation's member of the due list
--       10 '' or, for a group, the version of the member list that the sender goes by
--       11 when somebody else should look after it, ms  12 inbox cap
--       then for each inbox: its user's name for the conversation, member of the due list, '1' for
--       the sender's own or ''
-- Returns {1 new or 0 a repeat, seq, n, epoch, z, zn, b, bn, dropped, keys gone, stored message for a repeat}.
-- A repeat whose message is past its time has '' for it. Or {-1, version} where the group has another
-- version, 0 where there is none.
local first = redis.call('GET', KEYS[2])
if not first and ARGV[10] ~= '' then
  local group = redis.call('HMGET', KEYS[5], 'v', 'gone')
  local version = not group[2] and group[1] or '0'
  if version ~= ARGV[10] then
    return {-1, tonumber(version)}
  end
end
local head = head_of(KEYS[1], ARGV[4], ARGV[5])
local known = {}
if ARGV[10] == '' then
  for i = 13, #ARGV, 3 do
    known[i] = rows_of(KEYS[i - 8], ARGV[i])
  end
end
local seq, value, gone, dropped = nil, nil, 0, 0
if first then
  seq = tonumber(first)
  value = redis.call('HGET', chunk_of(KEYS[1], head.a, seq), first)
  -- Written again, so that a WAIT behind this answer also covers the write of the earlier try.
  redis.call('SET', KEYS[2], first, 'KEEPTTL')
  if not value then
    return {0, seq, head.n, head.e, head.z, head.zn, head.b, head.bn, 0, 0, ''}
  end
else
  if head.new and redis.call('ZSCORE', KEYS[3], ARGV[9]) then
    gone = 1 -- it was looked after, so it was here: its head is gone, and nobody is shown the rest
  end
  local ends = ARGV[7] ~= '' and tonumber(ARGV[7]) or nil
  local failed = append(head, tonumber(ARGV[6]), tonumber(ARGV[1]), ends, ARGV[8], KEYS[3], ARGV[9],
    ARGV[11])
  if failed then
    return failed
  end
  seq, value = head.q, head.value
  redis.call('SET', KEYS[2], whole(seq), 'PX', ARGV[3])
  if ends then
    redis.call('ZADD', KEYS[4], ARGV[7], ARGV[9] .. ' ' .. whole(seq))
  end
end
local _, flags, time, n = parts(value)
if ARGV[10] == '' then
  local m = {
    e = tonumber(head.e, 16), seq = seq, n = n, t = time, counts = bit.band(flags, COUNTS) ~= 0,
    value = value, b = head.b, bn = head.bn, z = head.z, zn = head.zn, cap = tonumber(ARGV[12]),
    retention = tonumber(ARGV[2]), fresh = ARGV[4], due = KEYS[3],
  }
  for i = 13, #ARGV, 3 do
    local more, lost = refer(known[i], KEYS[i - 8], KEYS[i - 7], KEYS[i - 6], ARGV[i], ARGV[i + 1],
      ARGV[i + 2] ~= '', 0, 0, 0, m)
    dropped, gone = dropped + more, gone + lost
  end
end
return {first and 0 or 1, seq, n, head.e, head.z, head.zn, head.b, head.bn, dropped, gone,
  first and value or nil}
