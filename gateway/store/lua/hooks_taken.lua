#!lua flags=allow-oom
-- Every endpoint of an app has in its log what waited in a bucket, up to a number: it goes from here.
--
-- KEYS  1 hash  2 hooked
-- ARGV  1 app id  2 epoch and run, as the head said  3 the number  4 '' or, where nobody took it, anything
-- See happened.lua. Where the head is another by now, nothing goes: who asks looks again.
local head, upto = redis.call('HGET', KEYS[1], 'h'), tonumber(ARGV[3])
if not head then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return
end
if string.sub(head, 1, 8) ~= ARGV[2] then
  return
end
local before, taken, first, last, bytes = struct.unpack('>I6I6I6I6I6', head, 9)
upto = math.min(upto, last)
for number = first, upto do
  bytes = bytes - #(redis.call('HGET', KEYS[1], number .. '') or '')
  redis.call('HDEL', KEYS[1], number .. '')
end
first = math.max(first, upto + 1)
if ARGV[4] == '' then
  taken = math.max(taken, upto)
end
redis.call('HSET', KEYS[1], 'h', string.sub(head, 1, 8)
  .. struct.pack('>I6I6I6I6I6', before, taken, first, last, first > last and 0 or bytes))
if first > last then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
