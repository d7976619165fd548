#!lua flags=allow-oom
-- Take out of the log of an endpoint what is past its time, and note when to look again: see hooks_log.lua.
--
-- KEYS  1 log  2 numbers to send  3 hooked  4 due list
-- ARGV  1 now ms  2 retention ms, 0 where the endpoint is gone  3 member of hooked  4 member of the due list
--       5 how many records at most
-- Returns {how many went, 1 where more are due}.
local head, now, retention = redis.call('HGET', KEYS[1], 'h'), tonumber(ARGV[1]), tonumber(ARGV[2])
local first, last, bytes = 1, 0, 0
if head then
  first, last, bytes = struct.unpack('>I6I6I6', head, 9)
end
if not head or retention == 0 then
  for k = (first - first % 128) / 128, (last - last % 128) / 128 do
    redis.call('UNLINK', KEYS[1] .. ':' .. k)
  end
  redis.call('UNLINK', KEYS[1], KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('ZREM', KEYS[4], ARGV[4])
  return {math.max(0, last - first + 1), 0}
end
local due, begun, removed = now + retention, first, 0
while first <= last and first < begun + tonumber(ARGV[5]) do
  local chunk = KEYS[1] .. ':' .. (first - first % 128) / 128
  local values = redis.call('HMGET', chunk, first .. '', 'a' .. first)
  if values[1] then
    local time = struct.unpack('>I6', values[1], 6)
    if time > now - retention then
      due = time + retention
      break
    end
    redis.call('HDEL', chunk, first .. '', 'a' .. first)
    redis.call('ZREM', KEYS[2], string.format('%012.0f', first))
    bytes, removed = bytes - #values[1] - #(values[2] or ''), removed + 1
  end
  first = first + 1
end
local more = first <= last and first == begun + tonumber(ARGV[5])
redis.call('HSET', KEYS[1], 'h', string.sub(head, 1, 8) .. struct.pack('>I6I6I6', first, last, bytes))
redis.call('ZADD', KEYS[4], more and now or due, ARGV[4])
return {removed, more and 1 or 0}
