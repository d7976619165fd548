-- Take single entries out of a stream, with their bytes.
--
-- KEYS  1 stream  2 ttl list
-- ARGV  1 the stream's member of the due list  then the ids to take out, the lowest first
-- Returns how many there were.
--
-- A removed entry is only marked, and its bytes stay until the block of up to 100 entries that it is
-- in goes. So everything from 100 entries before it is removed, and what is to stay is added again.
-- Where that would be over 1,000 entries, the bytes wait for the block.
local gone, members, removed = {}, {}, 0
for i = 2, #ARGV do
  gone[ARGV[i]] = true
  members[#members + 1] = ARGV[1] .. ' ' .. ARGV[i]
end
redis.call('ZREM', KEYS[2], unpack(members))
local before = redis.call('XREVRANGE', KEYS[1], '(' .. ARGV[2], '-', 'COUNT', 100)
local from = before[1] and before[#before][1] or ARGV[2]
local block = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1001)
if #block > 1000 then
  return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
end
for _, entry in ipairs(block) do
  if gone[entry[1]] then
    removed = removed + 1
  end
end
if removed == 0 then
  return 0
end
for _, entry in ipairs(block) do
  redis.call('XDEL', KEYS[1], entry[1])
end
local left = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if left then
  redis.call('XSETID', KEYS[1], left[1], 'ENTRIESADDED', redis.call('XLEN', KEYS[1]),
    'MAXDELETEDID', '0-0')
else
  redis.call('DEL', KEYS[1])
end
for _, entry in ipairs(block) do
  if not gone[entry[1]] then
    redis.call('XADD', KEYS[1], entry[1], unpack(entry[2]))
  end
end
return removed
