-- A gateway says that it lives, or that it leaves, and learns which others live.
--
-- KEYS  1 gateways: a sorted set, gateway -> the ms at which its lease ends
-- ARGV  1 gateway  2 how long its lease lasts, ms; 0 ends it
-- Returns the gateways that live. The time is Redis' own: gateways' clocks need not agree.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
return redis.call('ZRANGE', KEYS[1], 0, -1)
