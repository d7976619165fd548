#!lua flags=allow-oom
-- A device has dealt with everything up to a number; what all devices have dealt with goes. After
-- row.lua and waiting.lua.
--
-- KEYS  1 inbox  2 meta  3 rows  4 5 where the session ends: presence channel, last closes
-- ARGV  1 now ms  2 retention ms  3 field of the session's row  4 session  5 6 7 acknowledged: epoch, the message's ms, seq
--       8 what to note of the end of the session, or '' while it goes on
--       9 what to note of a loss that the device was told of, or ''
--       10 how many ends are kept, and 11 for how long, ms
-- Returns 1 when this device's cursor moved.
local now, retention, seq = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[7])
local field = ARGV[3]
if string.sub(field, 1, 2) == 's:' then
  -- No device, so nothing of it stays, neither the numbering that it alone made.
  redis.call('HDEL', KEYS[2], field)
  if redis.call('EXISTS', KEYS[2], KEYS[1]) == 0 and redis.call('HLEN', KEYS[3]) == 1
    and string.sub(redis.call('HGET', KEYS[3], '#') or '', 5, 16) == string.rep('\0', 12) then
    redis.call('DEL', KEYS[3])
  end
  return 0
end
local all, known = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #all, 2 do
  known[all[i]] = all[i + 1]
end
local epoch, top, base = numbering(KEYS[3], KEYS[1])
if epoch and ARGV[8] ~= '' then
  redis.call('LPUSH', KEYS[5], ARGV[8])
  redis.call('LTRIM', KEYS[5], 0, tonumber(ARGV[10]) - 1)
  redis.call('PEXPIRE', KEYS[5], ARGV[11])
end
if epoch and ARGV[9] ~= '' then
  redis.call('HSET', KEYS[2], 'l', ARGV[9])
end
if epoch ~= tonumber(ARGV[5]) then
  return 0
end
local acked, holder, moved, rest = 0, ARGV[4], 0, ''
if known[field] then
  local stands
  stands, holder, rest = string.match(known[field], '^(%S+) %S+ (%S*)(.*)$')
  acked = tonumber(stands)
end
-- Where Redis came back with an older state, a session may not know yet that its numbers are void.
if seq > acked and given(KEYS[1], top, base, seq, tonumber(ARGV[6])) ~= false then
  acked, moved = seq, 1
end
if ARGV[8] ~= '' and holder == ARGV[4] then
  holder = ''
  redis.call('SPUBLISH', KEYS[4], 'g')
end
known[field] = acked .. ' ' .. ARGV[1] .. ' ' .. holder .. rest
redis.call('HSET', KEYS[2], 'u', ARGV[1], field, known[field])
if moved == 0 then
  return 0
end

local floor = acked
for name, row in pairs(known) do
  if string.sub(name, 1, 2) == 'd:' then
    local stands, seen = string.match(row, '^(%S+) (%S+)')
    if tonumber(seen) + retention > now then
      floor = math.min(floor, tonumber(stands))
    end
  end
end
if floor > (tonumber(known.f) or 0) then
  redis.call('HSET', KEYS[2], 'f', floor)
end
if floor > base then
  less_spent(KEYS[3], redis.call('LPOP', KEYS[1], floor - base) or {})
  redis.call('HSET', KEYS[3], '#', struct.pack(TOP, epoch, top, floor) .. MET)
end
return 1
