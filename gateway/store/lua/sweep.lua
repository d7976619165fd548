#!lua flags=allow-oom
-- Take out of one user's inbox what is past its time, forget devices unseen for as long, and note
-- when to look again.
--
-- KEYS  1 inbox  2 meta  3 due list  4 blocks  5 blocked by  6 last closes
-- ARGV  1 now ms  2 retention ms  3 how long an unused profile is kept, ms  4 member of the due list
--       5 how long a connected session may go unseen, ms
-- Returns how many messages were removed.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f-0', now - retention + 1))

-- Redis keeps up to 100 entries in one block. One that is removed, here or when it was acknowledged,
-- is only marked, and its bytes stay until the whole block goes. So the rest is written anew, where
-- that is little work; in a longer inbox the block goes with the last message in it.
local rest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 101)
if rest[1] and #rest <= 100 then
  redis.call('DEL', KEYS[1])
  for _, entry in ipairs(rest) do
    redis.call('XADD', KEYS[1], entry[1], unpack(entry[2]))
  end
end

-- Who was unblocked is kept only until a request that was overtaken can't come any more.
local blockers = redis.call('HGETALL', KEYS[5])
for i = 1, #blockers, 2 do
  if string.sub(blockers[i + 1], 1, 1) == '-' then
    redis.call('HDEL', KEYS[5], blockers[i])
  end
end

local due, last_used = nil, 0
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local name = all[i]
  if name == 't' or name == 'u' then
    last_used = math.max(last_used, tonumber(all[i + 1]))
  elseif string.sub(name, 1, 2) == 'd:' or string.sub(name, 1, 2) == 's:' then
    -- The row of a session that is no device outlives only a gateway that was killed.
    local kept = string.sub(name, 1, 2) == 'd:' and retention or math.min(retention, tonumber(ARGV[5]))
    local over = tonumber(string.match(all[i + 1], '^%S+ (%S+)')) + kept
    if over <= now then
      redis.call('HDEL', KEYS[2], name)
    else
      due = math.min(due or over, over)
    end
  end
end
if rest[1] then
  local over = tonumber(string.match(rest[1][1], '^(%d+)')) + retention
  due = math.min(due or over, over)
end
if not due then
  -- No message and no device: only the numbering is left, so that a late device can be told the
  -- truth about what it missed. It goes when the profile's time is over.
  local over = last_used + tonumber(ARGV[3])
  -- Deliveries count on it to be looked at before the next message is past its time.
  due = math.min(over, now + retention)
  if over <= now then
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[6])
    if tonumber(ARGV[3]) == 0 then -- the app is gone; else a block stays for good
      redis.call('DEL', KEYS[4], KEYS[5])
    end
    if redis.call('EXISTS', KEYS[4], KEYS[5]) == 0 then
      redis.call('ZREM', KEYS[3], ARGV[4])
      return removed
    end
    due = now + tonumber(ARGV[3])
  end
end
redis.call('ZADD', KEYS[3], string.format('%.0f', due), ARGV[4])
return removed
