-- Take out of one user's inbox what is past its time, forget devices unseen for as long, and note
-- when to look again.
--
-- KEYS  1 inbox  2 meta  3 due list
-- ARGV  1 now ms  2 retention ms  3 member of the due list  4 how long an unused profile is kept, ms
-- Returns how many messages were removed.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f-0', now - retention + 1))

local due, last_used = nil, 0
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local name = all[i]
  if name == 't' or name == 'u' then
    last_used = math.max(last_used, tonumber(all[i + 1]))
  elseif string.sub(name, 1, 2) == 'd:' then
    local over = tonumber(string.match(all[i + 1], '^%S+ (%S+)')) + retention
    if over <= now then
      redis.call('HDEL', KEYS[2], name)
    else
      due = math.min(due or over, over)
    end
  end
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if first then
  local over = tonumber(string.match(first[1], '^(%d+)')) + retention
  due = math.min(due or over, over)
end
if not due then
  -- No message and no device: only the numbering is left, so that a late device can be told the
  -- truth about what it missed. It goes when the profile's time is over.
  due = last_used + tonumber(ARGV[4])
  if due <= now then
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('ZREM', KEYS[3], ARGV[3])
    return removed
  end
end
redis.call('ZADD', KEYS[3], string.format('%.0f', due), ARGV[3])
return removed
