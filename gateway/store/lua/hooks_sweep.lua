#!lua flags=allow-oom
-- Take out of a bucket what waited for webhooks until its time was over, and note when to look again.
--
-- KEYS  1 hash  2 hooked  3 due list
-- ARGV  1 now ms  2 retention ms, 0 where the app is gone  3 member of the due list  4 app id
-- See happened.lua. Returns how many went.
local head, now, retention, removed = redis.call('HGET', KEYS[1], 'h'), tonumber(ARGV[1]), tonumber(ARGV[2]), 0
if not head or retention == 0 then
  redis.call('UNLINK', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[4])
  redis.call('ZREM', KEYS[3], ARGV[3])
  return 0
end
local before, taken, first, last, bytes = struct.unpack('>I6I6I6I6I6', head, 9)
local due = now + retention
while first <= last do
  local value = redis.call('HGET', KEYS[1], first .. '')
  local time = value and struct.unpack('>I6', value, 2) or 0
  if time > now - retention then
    due = time + retention
    break
  end
  redis.call('HDEL', KEYS[1], first .. '')
  first, bytes, removed = first + 1, bytes - #(value or ''), removed + 1
end
if removed > 0 then
  redis.call('HSET', KEYS[1], 'h', string.sub(head, 1, 8)
    .. struct.pack('>I6I6I6I6I6', before, taken, first, last, first > last and 0 or bytes))
end
redis.call('ZADD', KEYS[3], due, ARGV[3])
return removed
