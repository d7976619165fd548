-- Keep one message in its conversation's log, once.
--
-- KEYS  1 dedupe  2 due list  3 ttl list  4 log  5 meta  6 of a group's log, the group's state
-- ARGV  1 now ms  2 retention ms  3 dedupe window ms  4 record  5 member of the due list
--       6 when the message's own time to live ends, ms, or ''
-- Returns the time in ms at which the message was first kept here: now, or that of an earlier try.
local now = tonumber(ARGV[1])
-- As in deliver.lua, what may fail comes before the dedupe mark.
local known = redis.call('HMGET', KEYS[5], 'q', 't')
local empty = redis.call('XLEN', KEYS[4]) == 0
if KEYS[6] then
  -- The log went with the group. What was under way then must not begin another one.
  local group = redis.call('HMGET', KEYS[6], 'v', 'gone')
  if not group[1] or group[2] then
    return ARGV[1]
  end
end
local first = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[3])
if first then
  redis.call('SET', KEYS[1], first, 'KEEPTTL')
  return first
end
local seq, ms = (tonumber(known[1]) or 0) + 1, math.max(tonumber(known[2]) or 0, now)
local seq_text, ms_text = string.format('%.0f', seq), string.format('%.0f', ms)
local id = ms_text .. '-' .. seq_text
if ARGV[6] == '' then
  redis.call('XADD', KEYS[4], id, 'm', ARGV[4])
else
  redis.call('XADD', KEYS[4], id, 'm', ARGV[4], 'x', ARGV[6])
  redis.call('ZADD', KEYS[3], ARGV[6], ARGV[5] .. ' ' .. id)
end
redis.call('HSET', KEYS[5], 'q', seq_text, 't', ms_text)
if empty then
  redis.call('ZADD', KEYS[2], 'LT', ms + tonumber(ARGV[2]), ARGV[5])
end
return ARGV[1]
