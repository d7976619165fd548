-- Store one message in every inbox of one bucket that it goes to, once, and tell who is online.
--
-- KEYS  1 dedupe  2 due list  3 ttl list  then, for each inbox: inbox, meta, channel
-- ARGV  1 now ms  2 retention ms  3 inbox cap  4 dedupe window ms  5 record  6 epoch for a new inbox
--       7 '' or, for a message to a group, the version of the membership it goes by
--       8 when the message's own time to live ends, ms, or ''
--       9 conversation in which it is counted as unread, or ''  10 its sender's member of the due list
--       11 most unread messages counted  then, for each inbox: its member of the due list
-- There follow KEYS, with a version: for each inbox, that since which its user is out (fence); and
-- with a conversation: for each inbox, unread and waiting.
-- Returns the time in ms at which the message was first stored here: now, or that of an earlier try.
local now, retention, cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local record = ARGV[5]

-- A script that fails is not rolled back. So what may fail comes before the dedupe mark, which would
-- make the next try believe that this one had stored the message.
local FIRST = 12
local inboxes = #ARGV - FIRST + 1
local states, held, out = {}, {}, {}
for i = FIRST, #ARGV do
  local at = 3 * (i - FIRST) + 4
  states[i] = redis.call('HMGET', KEYS[at + 1], 'e', 'q', 't')
  held[i] = redis.call('XLEN', KEYS[at]) + 1
  if ARGV[7] ~= '' then
    -- Who was removed meanwhile gets nothing, however old the sender's list of members is.
    local since = redis.call('GET', KEYS[4 + 3 * inboxes + i - FIRST])
    out[i] = since and tonumber(ARGV[7]) < tonumber(since)
  end
end
local first = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[4])
if first then
  -- Written again, so that a WAIT behind this answer also covers the write of the earlier try.
  redis.call('SET', KEYS[1], first, 'KEEPTTL')
  return first
end

local function store(i)
  local at = 3 * (i - FIRST) + 4
  local inbox, meta, channel, known = KEYS[at], KEYS[at + 1], KEYS[at + 2], states[i]
  local seq, ms = (tonumber(known[2]) or 0) + 1, tonumber(known[3]) or 0
  if ms < now then
    ms = now
  end
  -- Numbers travel as text of all their digits: tostring() would round a time to 14.
  local seq_text, ms_text = string.format('%.0f', seq), string.format('%.0f', ms)
  local id = ms_text .. '-' .. seq_text
  if ARGV[8] == '' then
    redis.call('XADD', inbox, id, 'm', record)
  else
    redis.call('XADD', inbox, id, 'm', record, 'x', ARGV[8])
    redis.call('ZADD', KEYS[3], ARGV[8], ARGV[i] .. ' ' .. id)
  end
  if known[1] then
    redis.call('HSET', meta, 'q', seq_text, 't', ms_text)
  else
    redis.call('HSET', meta, 'e', ARGV[6], 'q', seq_text, 't', ms_text)
  end
  if held[i] == 1 then
    redis.call('ZADD', KEYS[2], 'LT', ms + retention, ARGV[i])
  elseif held[i] > cap then
    redis.call('XTRIM', inbox, 'MAXLEN', '=', cap)
  end
  if ARGV[9] ~= '' and ARGV[i] ~= ARGV[10] then -- what one wrote oneself is not unread
    local unread = 4 + (ARGV[7] == '' and 3 or 4) * inboxes + 2 * (i - FIRST)
    local waiting = redis.call('RPUSH', KEYS[unread + 1], ARGV[1])
    if waiting == 1 then
      redis.call('ZADD', KEYS[unread], ARGV[1], ARGV[9])
    elseif waiting > tonumber(ARGV[11]) then
      redis.call('LPOP', KEYS[unread + 1])
    end
    redis.call('PEXPIRE', KEYS[unread + 1], ARGV[2])
  end
  redis.call('SPUBLISH', channel, struct.pack('>BI8I8', 1, seq, ms) .. record)
end
for i = FIRST, #ARGV do
  if not out[i] then
    store(i)
  end
end
return ARGV[1]
