#!lua flags=allow-oom
-- Take out of one user's inbox what is past its time, and out of a slice of the rows those of conversations that
-- are as old. After row.lua and waiting.lua.
--
-- KEYS  1 inbox  2 rows
-- ARGV  1 now ms  2 retention ms  3 where the walk goes on, '0' at first  4 most rows looked at, about
-- Returns {how many messages were removed, where the walk goes on, '0' at its end, when to look at a row of the
-- slice next, ms, or 0, 1 where the user is in a group of the slice}.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local SLACK = 3600000 -- a row goes after its conversation had time to go
local epoch, top, base = numbering(KEYS[2], KEYS[1])
local removed, head = 0, nil
while true do
  local refs = redis.call('LRANGE', KEYS[1], 0, 99)
  local over = 0
  for _, ref in ipairs(refs) do
    local _, time = struct.unpack(REF, ref)
    if time + retention > now then
      head = time
      break
    end
    over = over + 1
  end
  if over > 0 then
    less_spent(KEYS[2], redis.call('LPOP', KEYS[1], over))
    removed, base = removed + over, base + over
  end
  if over < 100 then
    break
  end
end
if removed > 0 and epoch then
  local met = string.sub(redis.call('HGET', KEYS[2], '#'), 17)
  redis.call('HSET', KEYS[2], '#', struct.pack(TOP, epoch, top, base) .. met)
end
local last_used, due, member = 0, 0, 0
local slice = redis.call('HSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
local rows = slice[2]
for i = 1, #rows, 2 do
  if string.sub(rows[i], 1, 2) == '#m' then
    if struct.unpack('>I6', rows[i + 1]) <= base then
      redis.call('HDEL', KEYS[2], rows[i]) -- the inbox has room (shed.lua)
    end
  elseif string.sub(rows[i], 1, 1) ~= '#' then
    local _, _, _, time, _, _, _, _, _, upto = struct.unpack(ROW, rows[i + 1])
    if upto == 0 and retention > 0 and string.sub(rows[i], 1, 2) == 'g:' then
      member = 1 -- of a group, however long nothing is said in it (groups_of.lua)
    elseif time + retention + SLACK <= now or retention == 0 then
      redis.call('HDEL', KEYS[2], rows[i])
      last_used = math.max(last_used, time)
    else
      due = due == 0 and time + retention + SLACK or math.min(due, time + retention + SLACK)
    end
  end
end
if last_used > tonumber(redis.call('HGET', KEYS[2], '#t') or '0') then
  redis.call('HSET', KEYS[2], '#t', string.format('%.0f', last_used))
end
return {removed, slice[1], due, member}
