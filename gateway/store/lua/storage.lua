#!lua flags=allow-oom
-- Add to what an app, or one of its users as a sender, has stored, and tell how much that is.
--
-- KEYS  1 what is stored: a hash. 'w<ms>' and 'n<ms>': bytes that were written until then, and go when the
--       tier's time is over; those under n, for users who never connected, are also under w. 'e<ms>': bytes that
--       go then. 's': bytes of what has no such time; 'c': by how much s has changed since all was counted
--       (storage_counted.lua), and what that found
-- ARGV  1 now ms  2 retention ms  3 how long this is remembered without use, ms
--       4 bytes that went before their time  then field, by how much it changes
-- Returns {bytes, bytes for users who never connected}. What went early is taken off what would go next: so
-- no more than is there is ever taken off what stays.
local now, retention, back = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
for i = 5, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
local all, total, strange, parts = redis.call('HGETALL', KEYS[1]), 0, 0, {}
for i = 1, #all, 2 do
  local kind, ms = string.match(all[i], '^([wne])(%d+)$')
  local bytes = tonumber(all[i + 1])
  if kind then
    local ends = tonumber(ms) + (kind == 'e' and 0 or retention)
    if ends <= now then
      redis.call('HDEL', KEYS[1], all[i])
    elseif kind == 'n' then
      strange = strange + bytes
    else
      total, parts[#parts + 1] = total + bytes, {ends, all[i], bytes}
    end
  elseif all[i] == 's' then
    total = total + math.max(0, bytes)
  end
end
if back > 0 then
  table.sort(parts, function(a, b)
    return a[1] < b[1] or a[1] == b[1] and a[2] < b[2]
  end)
  for _, part in ipairs(parts) do
    local less = math.max(0, math.min(back, part[3]))
    if less > 0 then
      redis.call('HINCRBY', KEYS[1], part[2], string.format('%.0f', -less))
      back, total = back - less, total - less
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {total, strange}
