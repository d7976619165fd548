#!lua
-- Tell channels of one bucket something once, and keep nothing but that it was told.
--
-- KEYS  1 dedupe  then the channels
-- ARGV  1 now ms  2 dedupe window ms  then what to publish on each channel
-- Returns the time in ms at which it was first told: now, or that of an earlier try.
local first = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[2])
if first then
  if tonumber(ARGV[2]) > 600000 then -- a repeat within a WebSocket's ten minutes makes nothing longer
    redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT')
  end
  return first
end
for i = 2, #KEYS do
  redis.call('SPUBLISH', KEYS[i], ARGV[i + 1])
end
return ARGV[1]
