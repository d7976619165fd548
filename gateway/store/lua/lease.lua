#!lua flags=allow-oom
-- Take a lease, or keep it.
--
-- KEYS  1 lease
-- ARGV  1 who takes it  2 how long it lasts, ms
-- Returns 1, or 0 where another one has it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
