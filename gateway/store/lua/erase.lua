#!lua flags=allow-oom
-- Take single entries out of a stream, with their bytes.
--
-- KEYS  1 stream  2 ttl list
-- ARGV  1 the stream's member of the due list  then the ids to take out
-- Returns how many there were.
local members = {}
for i = 2, #ARGV do
  members[#members + 1] = ARGV[1] .. ' ' .. ARGV[i]
end
redis.call('ZREM', KEYS[2], unpack(members))
local removed = redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
if removed == 0 then
  return 0
end
-- As in sweep.lua, a removed entry is only marked until the block that it is in goes. So the rest is
-- written anew; in a stream where that is too much work, the bytes wait for the block.
local rest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1001)
-- One that is empty stays: a stream that is gone, beside a hash that says what was in it, is a loss.
if rest[1] and #rest <= 1000 then
  redis.call('DEL', KEYS[1])
  for _, entry in ipairs(rest) do
    redis.call('XADD', KEYS[1], entry[1], unpack(entry[2]))
  end
end
return removed
