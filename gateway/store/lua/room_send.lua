#!lua
-- Publish one message to a room, once, and keep it among the last.
--
-- KEYS  1 dedupe  2 meta  3 log  4 seats  5 users  6 due list  7 channel
-- ARGV  1 now ms  2 retention ms  3 how many are kept  4 dedupe window ms  5 user  6 record
--       7 the highest number that the sender's gateway has heard  8 epoch for a new room
--       9 member of the due list
-- Returns the ms at which the message was first published, or why it must not be.
local now = tonumber(ARGV[1])
local first = redis.call('GET', KEYS[1])
if first then
  return first
end
reap(KEYS[4], KEYS[5], now)
local no = barred(KEYS[2], KEYS[5], ARGV[5])
if no then
  return no
end
local known = redis.call('HMGET', KEYS[2], 'e', 'q', 't')
if not known[1] then
  known = {false, half(KEYS[3])}
end
-- A Redis that came back older must not give a number twice: who has heard the first would take
-- the second for a repetition.
local seq = math.max(tonumber(known[2]) or 0, tonumber(ARGV[7])) + 1
local ms = math.max(tonumber(known[3]) or 0, now)
local seq_text, ms_text = string.format('%.0f', seq), string.format('%.0f', ms)
-- What may fail comes before the dedupe mark.
redis.call('XADD', KEYS[3], ms_text .. '-' .. seq_text, 'm', ARGV[6])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
redis.call('HSET', KEYS[2], 'e', known[1] or ARGV[8], 'q', seq_text, 't', ms_text, 'u', ARGV[1])
redis.call('XTRIM', KEYS[3], 'MAXLEN', '=', ARGV[3])
redis.call('ZADD', KEYS[6], 'LT', ms + tonumber(ARGV[2]), ARGV[9])
redis.call('SPUBLISH', KEYS[7], struct.pack('>BI8', 6, seq) .. ARGV[6])
return ARGV[1]
