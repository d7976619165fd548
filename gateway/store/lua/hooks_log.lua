#!lua
-- Add events to the log of an endpoint, and with them what it has of the buckets they waited in: so each is in it
-- once, however often the dispatcher dies.
--
-- The log is a hash and its chunks, hashes of 128 records each. Its field 'h' is epoch 4, run 4, '>I6I6I6': the epoch
-- of its numbering; the server's run; the first number that is kept, the last, and how many bytes are kept;
-- 'p<bucket>' says what it has of a bucket (happened.lua), '>I4I6', epoch and number; 'off' why nothing is sent to the
-- endpoint; 'ok' when it last took something, 'since' when it began to fail. In a chunk the field <number> is the
-- log's epoch, 4 bytes, and what waited in the bucket; 'a<number>' the attempts to send it (hooks_done.lua). A number
-- without a field was lost. `hookdue:` is a sorted set of the numbers to send, scored with when, in ms; `hooked` (of
-- the bucket) has when the first of them is due.
--
-- KEYS  1 log  2 numbers to send  3 hooked  4 due list
-- ARGV  1 epoch for a new numbering, and run of the server, 4 bytes each  2 now ms  3 retention ms  4 most bytes
--       5 member of hooked  6 member of the due list  7 '' or, where there may be no log yet, anything
--       8 of how many buckets  then for each three: the field, its value as it was read, '' for none, and the new one
--       then the events; of those that the bucket dropped '\0', '>I6', how many
-- Returns the last number; '' where the log has another value of a bucket, or is gone.
local head, buckets = redis.call('HGET', KEYS[1], 'h'), tonumber(ARGV[8])
if not head and ARGV[7] == '' then
  return ''
end
for i = 9, 8 + 3 * buckets, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then
    return ''
  end
end
local epoch, first, last, bytes = string.sub(ARGV[1], 1, 4), 1, 0, 0
if head then
  first, last, bytes = struct.unpack('>I6I6I6', head, 9)
  if string.sub(head, 5, 8) == string.sub(ARGV[1], 5, 8) then
    epoch = string.sub(head, 1, 4)
  end
end
local before, scored, fields, k = last, {}, {}, nil
local function write()
  if fields[1] then
    redis.call('HSET', KEYS[1] .. ':' .. k, unpack(fields))
    fields = {}
  end
end
for i = 9 + 3 * buckets, #ARGV do
  if string.byte(ARGV[i]) == 0 then
    last = last + struct.unpack('>I6', ARGV[i], 2)
  else
    last, bytes = last + 1, bytes + 4 + #ARGV[i]
    local chunk = (last - last % 128) / 128
    if chunk ~= k or #fields > 200 then
      write()
      k = chunk
    end
    fields[#fields + 1], fields[#fields + 2] = last .. '', epoch .. ARGV[i]
    scored[#scored + 1], scored[#scored + 2] = ARGV[2], string.format('%012.0f', last)
    if #scored > 200 then
      redis.call('ZADD', KEYS[2], unpack(scored))
      scored = {}
    end
  end
end
write()
if scored[1] then
  redis.call('ZADD', KEYS[2], unpack(scored))
end
while bytes > tonumber(ARGV[4]) and first < last do
  local chunk = KEYS[1] .. ':' .. (first - first % 128) / 128
  local found = redis.call('HMGET', chunk, first .. '', 'a' .. first)
  bytes = bytes - #(found[1] or '') - #(found[2] or '')
  redis.call('HDEL', chunk, first .. '', 'a' .. first)
  redis.call('ZREM', KEYS[2], string.format('%012.0f', first))
  first = first + 1
end
if last > before and redis.call('HEXISTS', KEYS[1], 'off') == 0 then
  redis.call('ZADD', KEYS[3], 'LT', ARGV[2], ARGV[5])
end
if not head then
  redis.call('ZADD', KEYS[4], ARGV[2] + ARGV[3], ARGV[6])
end
redis.call('HSET', KEYS[1], 'h', epoch .. string.sub(ARGV[1], 5, 8) .. struct.pack('>I6I6I6', first, last, bytes))
for i = 9, 8 + 3 * buckets, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
end
return string.format('%.0f', last)
