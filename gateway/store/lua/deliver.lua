-- Store one message in every inbox of one bucket that it goes to, once, and tell who is online.
--
-- KEYS  1 dedupe  2 due list  then, for each inbox: inbox, meta, channel, talks, unread, waiting
-- ARGV  1 now ms  2 retention ms  3 inbox cap  4 dedupe window ms  5 record  6 epoch for a new inbox
--       7 message's time, ms  8 conversation, '' where nothing is to be counted
--       9 sender's member of the due list  10 most unread counted  11 how long they are kept, ms
--       then, for each inbox: its member of the due list
-- Returns the message's time in ms, or that of the earlier try which was stored here.
local now, retention, cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local record = ARGV[5]

-- A script that fails is not rolled back. So what may fail comes before the dedupe mark, which would
-- make the next try believe that this one had stored the message.
local states, held = {}, {}
for i = 12, #ARGV do
  local at = 6 * (i - 12) + 3
  states[i] = redis.call('HMGET', KEYS[at + 1], 'e', 'q', 't')
  held[i] = redis.call('XLEN', KEYS[at]) + 1
end
local first = redis.call('SET', KEYS[1], ARGV[7], 'NX', 'GET', 'PX', ARGV[4])
if first then
  -- Written again, so that a WAIT behind this answer also covers the write of the earlier try.
  redis.call('SET', KEYS[1], first, 'KEEPTTL')
  return first
end

for i = 12, #ARGV do
  local at = 6 * (i - 12) + 3
  local inbox, meta, channel, known = KEYS[at], KEYS[at + 1], KEYS[at + 2], states[i]
  local seq, ms = (tonumber(known[2]) or 0) + 1, tonumber(known[3]) or 0
  if ms < now then
    ms = now
  end
  -- Numbers travel as text of all their digits: tostring() would round a time to 14.
  local seq_text, ms_text = string.format('%.0f', seq), string.format('%.0f', ms)
  redis.call('XADD', inbox, ms_text .. '-' .. seq_text, 'm', record)
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
  if ARGV[8] ~= '' then
    redis.call('ZADD', KEYS[at + 3], 'GT', ARGV[7], ARGV[8])
    if ARGV[i] ~= ARGV[9] then  -- what one wrote oneself is not unread
      local waiting = redis.call('RPUSH', KEYS[at + 5], ARGV[7])
      if waiting > tonumber(ARGV[10]) then
        redis.call('LPOP', KEYS[at + 5])
      else
        redis.call('HSET', KEYS[at + 4], ARGV[8], waiting)
      end
      redis.call('PEXPIRE', KEYS[at + 5], ARGV[11])
    end
  end
  redis.call('SPUBLISH', channel, struct.pack('>BI8I8', 1, seq, ms) .. record)
end
return ARGV[7]
