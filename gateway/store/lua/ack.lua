#!lua flags=allow-oom
-- A device has dealt with everything up to an entry; what all devices have dealt with goes.
--
-- KEYS  1 inbox  2 meta  3 4 where the session ends: presence channel, last closes
-- ARGV  1 now ms  2 retention ms  3 field of the session's row  4 session  5 6 7 acknowledged epoch, ms, seq
--       8 what to note of the end of the session, or '' while it goes on
--       9 what to note of a loss that the device was told of, or ''
--       10 how many ends are kept, and 11 for how long, ms
-- Returns 1 when this device's cursor moved.
local now, retention, seq = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[7])
local field = ARGV[3]
if string.sub(field, 1, 2) == 's:' then
  -- No device, so nothing of it stays, neither the numbering that it alone made.
  redis.call('HDEL', KEYS[2], field)
  if redis.call('HLEN', KEYS[2]) == 1 and redis.call('HEXISTS', KEYS[2], 'e') == 1 then
    redis.call('DEL', KEYS[2])
  end
  return 0
end
local all, known = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #all, 2 do
  known[all[i]] = all[i + 1]
end
if known.e and ARGV[8] ~= '' then
  redis.call('LPUSH', KEYS[4], ARGV[8])
  redis.call('LTRIM', KEYS[4], 0, tonumber(ARGV[10]) - 1)
  redis.call('PEXPIRE', KEYS[4], ARGV[11])
end
if known.e and ARGV[9] ~= '' then
  redis.call('HSET', KEYS[2], 'l', ARGV[9])
end
if (known.e or false) ~= ARGV[5] then
  return 0
end
local acked, holder, moved, rest = '0-0', ARGV[4], 0, ''
if known[field] then
  acked, holder, rest = string.match(known[field], '^(%S+) %S+ (%S*)(.*)$')
end
local given = ARGV[6] .. '-' .. ARGV[7]
if seq > tonumber(string.match(acked, '-(%d+)$')) then
  -- Where Redis came back with an older state, a session may not know yet that its numbers are void.
  local after = redis.call('XRANGE', KEYS[1], '(' .. given, '+', 'COUNT', 1)[1]
  local after_seq = after and tonumber(string.match(after[1], '-(%d+)$')) or math.huge
  if seq <= (tonumber(known.q) or 0) and seq < after_seq then
    acked, moved = given, 1
  end
end
if ARGV[8] ~= '' and holder == ARGV[4] then
  holder = ''
  redis.call('SPUBLISH', KEYS[3], 'g')
end
known[field] = acked .. ' ' .. ARGV[1] .. ' ' .. holder .. rest
if moved == 0 then
  redis.call('HSET', KEYS[2], 'u', ARGV[1], field, known[field])
  return 0
end

local floor, floor_seq = acked, seq
for name, row in pairs(known) do
  if string.sub(name, 1, 2) == 'd:' then
    local id, seen = string.match(row, '^(%S+) (%S+)')
    local id_seq = tonumber(string.match(id, '-(%d+)$'))
    if id_seq < floor_seq and tonumber(seen) + retention > now then
      floor, floor_seq = id, id_seq
    end
  end
end
if floor_seq > tonumber(string.match(known.f or '0-0', '-(%d+)$')) then
  redis.call('HSET', KEYS[2], 'u', ARGV[1], field, known[field], 'f', floor)
  local ms = string.match(floor, '^(%d+)')
  redis.call('XTRIM', KEYS[1], 'MINID', '=', ms .. '-' .. string.format('%.0f', floor_seq + 1))
else
  redis.call('HSET', KEYS[2], 'u', ARGV[1], field, known[field])
end
return 1
