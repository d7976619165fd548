#!lua flags=allow-oom
-- What became of attempts to send: see hooks_log.lua.
--
-- KEYS  1 log  2 numbers to send  3 hooked
-- ARGV  1 member of hooked  2 now ms
--       3 'ok' where the endpoint took something, 'failed' where it took nothing, or ''
--       4 '' or why nothing is to be sent to it any more  5 not before this, ms, it wants to be sent anything
--       then for each attempt: number; when to try again in ms, or ''; all attempts so far, sealed
-- Returns {since when it fails in ms, or 0; why it is off}.
local head = redis.call('HGET', KEYS[1], 'h')
if not head then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return {'0', 'deleted'}
end
local first, last, bytes = struct.unpack('>I6I6I6', head, 9)
for i = 6, #ARGV, 3 do
  local number = tonumber(ARGV[i])
  local chunk, field = KEYS[1] .. ':' .. (number - number % 128) / 128, 'a' .. ARGV[i]
  local values = redis.call('HMGET', chunk, ARGV[i], field)
  if values[1] then
    redis.call('HSET', chunk, field, ARGV[i + 2])
    bytes = bytes + #ARGV[i + 2] - #(values[2] or '')
  end
  if values[1] and ARGV[i + 1] ~= '' then
    redis.call('ZADD', KEYS[2], ARGV[i + 1], string.format('%012.0f', number))
  else
    redis.call('ZREM', KEYS[2], string.format('%012.0f', number))
  end
end
redis.call('HSET', KEYS[1], 'h', string.sub(head, 1, 8) .. struct.pack('>I6I6I6', first, last, bytes))
if ARGV[3] == 'ok' then
  redis.call('HSET', KEYS[1], 'ok', ARGV[2])
  redis.call('HDEL', KEYS[1], 'since')
elseif ARGV[3] == 'failed' then
  redis.call('HSETNX', KEYS[1], 'since', ARGV[2])
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'off', ARGV[4])
end
local state = redis.call('HMGET', KEYS[1], 'since', 'off')
local following = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if not following or state[2] then
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  redis.call('ZADD', KEYS[3], math.max(tonumber(following), tonumber(ARGV[5])), ARGV[1])
end
return {state[1] or '0', state[2] or ''}
