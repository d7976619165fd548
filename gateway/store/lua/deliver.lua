#!lua
-- Store one message in every inbox of one bucket that it goes to, once, and tell who is online.
-- The log of a direct conversation lies in the bucket of one of the two, and gets it too.
-- After half.lua and keep.lua.
--
-- KEYS  1 dedupe  2 due list  3 ttl list  then, for each inbox: inbox, meta, channel
-- ARGV  1 now ms  2 retention ms  3 inbox cap  4 dedupe window ms  5 record  6 epoch for a new inbox
--       7 '' or, for a message to a group, the version of the membership it goes by
--       8 when the message's own time to live ends, ms, or ''
--       9 conversation in which it is counted as unread, or ''  10 its sender's member of the due list
--       11 most unread messages counted  12 the log's member of the due list, or ''
--       then, for each inbox: its member of the due list
-- There follow KEYS, with a version: for each inbox, that since which its user is out (fence); and
-- with a conversation: for each inbox, unread and waiting. With a log its two keys are the last.
-- Returns the time in ms at which the message was first stored here: now, or that of an earlier try;
-- or, where inboxes were full, or of an inbox or the log one of two keys was gone, a list of it, of
-- how many messages had to go, and of how many keys were gone.
local now, retention, cap = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local record = ARGV[5]

-- A script that fails is not rolled back. So what may fail comes before the dedupe mark, which would
-- make the next try believe that this one had stored the message.
local FIRST = 13
local inboxes = #ARGV - FIRST + 1
local several = inboxes > 1 or ARGV[12] ~= ''
local states, lengths, out, evicted, halves = {}, {}, {}, 0, 0
for i = FIRST, #ARGV do
  local at = 3 * (i - FIRST) + 4
  states[i] = redis.call('HMGET', KEYS[at + 1], 'e', 'q', 't', 'f')
  if not states[i][1] then
    local seq, ms, floor = half(KEYS[at])
    if seq then
      states[i], halves = {false, seq, ms, floor}, halves + 1
    end
  end
  -- What all devices have acknowledged is not in the inbox: it may be full only behind that.
  local floor = states[i][4] and tonumber(string.match(states[i][4], '-(%d+)$')) or 0
  if several or (tonumber(states[i][2]) or 0) - floor >= tonumber(cap) then
    lengths[i] = redis.call('XLEN', KEYS[at]) -- fails where it is no stream
  end
end
if ARGV[7] ~= '' then
  -- Who was removed meanwhile gets nothing, however old the sender's list of members is.
  local since = redis.call('MGET', unpack(KEYS, 4 + 3 * inboxes, 3 + 4 * inboxes))
  for i = FIRST, #ARGV do
    out[i] = since[i - FIRST + 1] and tonumber(ARGV[7]) < tonumber(since[i - FIRST + 1])
  end
end
local log, log_meta, log_before = KEYS[#KEYS - 1], KEYS[#KEYS], nil
if ARGV[12] ~= '' then
  log_before = log_state(log, log_meta)
  halves = halves + (log_before.half and 1 or 0)
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
  local added
  if ARGV[8] == '' then
    added = redis.pcall('XADD', inbox, 'MAXLEN', '=', cap, id, 'm', record)
  else
    added = redis.pcall('XADD', inbox, 'MAXLEN', '=', cap, id, 'm', record, 'x', ARGV[8])
    redis.call('ZADD', KEYS[3], ARGV[8], ARGV[i] .. ' ' .. id)
  end
  if type(added) == 'table' then -- an error; a stream of several was looked at before the mark
    redis.call('DEL', KEYS[1])
    return added
  end
  if lengths[i] and lengths[i] >= tonumber(cap) then
    evicted = evicted + 1
  end
  if known[1] then
    redis.call('HSET', meta, 'q', seq_text, 't', ms_text)
  else
    redis.call('HSET', meta, 'e', ARGV[6], 'q', seq_text, 't', ms_text)
    if known[4] then
      redis.call('HSET', meta, 'f', known[4])
    end
    -- From now on the sweeper looks at it at least once in each retention time, by itself.
    redis.call('ZADD', KEYS[2], 'LT', ms + retention, ARGV[i])
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
  local failed = not out[i] and store(i)
  if failed then
    return failed
  end
end
if log_before then
  keep(log_before, log, log_meta, KEYS[2], KEYS[3], ARGV[12], now, retention, record, ARGV[8])
end
if evicted > 0 or halves > 0 then
  return {ARGV[1], evicted, halves}
end
return ARGV[1]
