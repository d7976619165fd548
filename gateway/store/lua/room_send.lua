#!lua
-- Publish one message to a room, once, and keep it among the last. After half.lua, room.lua and happened.lua.
--
-- KEYS  1 dedupe  2 meta  3 log  4 seats  5 users  6 due list  7 channel
-- ARGV  1 now ms  2 retention ms  3 how many are kept  4 dedupe window ms  5 user  6 record
--       7 8 the highest number that the sender's gateway has heard: epoch, seq
--       9 a new epoch  10 member of the due list  11 run of the server
--       12 event (happened.lua)  13 '1' where the user needs a seat
-- Returns the ms at which the message was published and by how many bytes the log has grown; of a repeat the ms
-- alone; or why it must not be.
local now = tonumber(ARGV[1])
local first = redis.call('GET', KEYS[1])
if first then
  if tonumber(ARGV[4]) > 600000 then -- a repeat within a WebSocket's ten minutes makes nothing longer
    redis.call('PEXPIRE', KEYS[1], ARGV[4], 'GT')
  end
  return first
end
reap(KEYS[4], KEYS[5], now)
local no = ARGV[13] == '1' and unseated(KEYS[5], ARGV[5]) or barred(KEYS[2], ARGV[5])
if no then
  return no
end
local epoch, top, last = stands(KEYS[2], KEYS[3], ARGV[7], ARGV[8], ARGV[9], ARGV[11])
local seq, ms = top + 1, math.max(last, now)
local hooks = ARGV[12] ~= '' and hooks_of(KEYS[6], ARGV[10])
local seq_text, ms_text = string.format('%.0f', seq), string.format('%.0f', ms)
-- What may fail comes before the dedupe mark.
redis.call('XADD', KEYS[3], ms_text .. '-' .. seq_text, 'm', ARGV[6])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
if top == 0 then
  redis.call('PERSIST', KEYS[2]) -- see room_join.lua
end
redis.call('HSET', KEYS[2], 'q', seq_text, 't', ms_text, 'u', ARGV[1])
local oldest = seq > tonumber(ARGV[3]) and redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
local grown = 40 + #ARGV[6] + (top == 0 and 700 or 0) -- the room itself
if redis.call('XTRIM', KEYS[3], 'MAXLEN', '=', ARGV[3]) > 0 and oldest then
  grown = grown - 40 - #oldest[2][2]
end
if hooks then
  happened(hooks, KEYS[6], ARGV[12], 1, ms, seq, '')
end
redis.call('ZADD', KEYS[6], 'LT', ms + tonumber(ARGV[2]), ARGV[10])
redis.call('SPUBLISH', KEYS[7], struct.pack('>BI8B', 6, seq, #epoch) .. epoch .. ARGV[6])
return ARGV[1] .. ' ' .. grown
