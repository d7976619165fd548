-- A device has dealt with everything up to an entry; what all devices have dealt with goes.
--
-- KEYS  1 inbox  2 meta
-- ARGV  1 now ms  2 retention ms  3 device  4 session  5 6 acknowledged ms, seq  7 'closing' or ''
-- Returns 1 when this device's cursor moved.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local field = 'd:' .. ARGV[3]
local row = redis.call('HGET', KEYS[2], field)
local acked, holder, moved = '0-0', ARGV[4], 0
if row then
  acked, holder = string.match(row, '^(%S+) %S+ (%S*)$')
end
if tonumber(ARGV[6]) > tonumber(string.match(acked, '-(%d+)$')) then
  acked, moved = ARGV[5] .. '-' .. ARGV[6], 1
end
if ARGV[7] == 'closing' and holder == ARGV[4] then
  holder = ''
end
redis.call('HSET', KEYS[2], 'u', ARGV[1], field, acked .. ' ' .. ARGV[1] .. ' ' .. holder)
if moved == 0 then
  return 0
end

local floor, floor_seq = acked, tonumber(ARGV[6])
local all = redis.call('HGETALL', KEYS[2])
local trimmed = 0
for i = 1, #all, 2 do
  if all[i] == 'f' then
    trimmed = tonumber(string.match(all[i + 1], '-(%d+)$'))
  elseif string.sub(all[i], 1, 2) == 'd:' then
    local id, seen = string.match(all[i + 1], '^(%S+) (%S+)')
    local seq = tonumber(string.match(id, '-(%d+)$'))
    if seq < floor_seq and tonumber(seen) + retention > now then
      floor, floor_seq = id, seq
    end
  end
end
if floor_seq > trimmed then
  redis.call('HSET', KEYS[2], 'f', floor)
  local ms = string.match(floor, '^(%d+)')
  redis.call('XTRIM', KEYS[1], 'MINID', '=', ms .. '-' .. string.format('%.0f', floor_seq + 1))
end
return 1
