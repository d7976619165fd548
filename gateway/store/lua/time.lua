#!lua flags=allow-oom
-- Tell Redis' clock, in ms. After now.lua.
--
-- KEYS  1 clock
-- ARGV  1 'leave nothing', where nobody knows yet whose this Redis is; or ''
local there = redis.call('EXISTS', KEYS[1]) == 1
local now = redis_now(KEYS[1])
if ARGV[1] ~= '' and not there then
  redis.call('DEL', KEYS[1])
end
return string.format('%.0f', now)
