#!lua
-- Keep one message of a group in the log of its conversation, once. After half.lua and
-- keep.lua.
--
-- KEYS  1 dedupe  2 due list  3 ttl list  4 log  5 meta  6 the group's state
-- ARGV  1 now ms  2 retention ms  3 dedupe window ms  4 record  5 member of the due list
--       6 when the message's own time to live ends, ms, or ''
-- Returns the time in ms at which the message was first kept here: now, or that of an earlier try; or,
-- where the log's hash was gone, as deliver.lua.
local state = log_state(KEYS[4], KEYS[5])
-- The log went with the group. What was under way then must not begin another one.
local group = redis.call('HMGET', KEYS[6], 'v', 'gone')
if not group[1] or group[2] then
  return ARGV[1]
end
local first = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[3])
if first then
  redis.call('SET', KEYS[1], first, 'KEEPTTL')
  return first
end
keep(state, KEYS[4], KEYS[5], KEYS[2], KEYS[3], ARGV[5], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4],
  ARGV[6])
if state.half then
  return {ARGV[1], 0, 1}
end
return ARGV[1]
