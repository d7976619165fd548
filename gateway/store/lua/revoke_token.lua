#!lua flags=allow-oom
-- One token of a user is void, here and on every gateway that has a session.
--
-- KEYS  1 revocations  2 channel
-- ARGV  1 digest of the token  2 its end, ms  3 now ms  4 event  5 most tokens to remember
--       6 how long to remember it after its end, ms
-- Returns 0 where so many are remembered already, and this one is not.
local now, ended, left = tonumber(ARGV[3]), {}, 0
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] ~= 'before' and fields[i] ~= ARGV[1] then
    if tonumber(fields[i + 1]) <= now then
      table.insert(ended, fields[i])
    else
      left = left + 1
    end
  end
end
if left >= tonumber(ARGV[5]) then
  return 0
end
for _, digest in ipairs(ended) do
  redis.call('HDEL', KEYS[1], digest)
end
local kept = tonumber(ARGV[2]) + tonumber(ARGV[6]) - now
kept = math.max(redis.call('PTTL', KEYS[1]), kept)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', kept))
redis.call('SPUBLISH', KEYS[2], ARGV[4])
return 1
