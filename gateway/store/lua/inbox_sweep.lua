#!lua flags=allow-oom
-- Forget devices of one user that are unseen for the tier's time, and the user, once nothing else is kept; and
-- note when to look again. rows_sweep.lua comes before it. After row.lua.
--
-- KEYS  1 inbox  2 rows  3 due list  4 blocks  5 blocked by  6 meta  7 last closes
--       8 revocation  9 10 groups and rooms that the user made  11 how much is stored
-- ARGV  1 now ms  2 retention ms  3 how long an unused profile is kept, ms  4 member of the due list
--       5 how long a connected session may go unseen, ms  6 when to look at the rows next, ms, or 0
--       7 '1' where the user is in a group
local now, retention, due = tonumber(ARGV[1]), tonumber(ARGV[2]), nil
if ARGV[6] ~= '0' then
  due = tonumber(ARGV[6])
end
local last_used = tonumber(redis.call('HGET', KEYS[2], '#t') or '0')

-- Whether any row is there; where there are many fields, it is taken for sure.
local function has_rows()
  if redis.call('HLEN', KEYS[2]) > 100 then
    return true
  end
  for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(name, 1, 1) ~= '#' then
      return true
    end
  end
end

-- Who was unblocked is kept only until a request that was overtaken can't come any more.
-- Thousands may block a user: nothing is looked at where nobody unblocked.
if redis.call('HDEL', KEYS[5], ' ') == 1 then
  local blockers = redis.call('HGETALL', KEYS[5])
  for i = 1, #blockers, 2 do
    if string.sub(blockers[i + 1], 1, 1) == '-' then
      redis.call('HDEL', KEYS[5], blockers[i])
    end
  end
end

local all = redis.call('HGETALL', KEYS[6])
for i = 1, #all, 2 do
  local name = all[i]
  if name == 'u' then
    last_used = math.max(last_used, tonumber(all[i + 1]))
  elseif string.sub(name, 1, 2) == 'd:' or string.sub(name, 1, 2) == 's:' then
    -- The row of a session that is no device outlives only a gateway that was killed.
    local kept = string.sub(name, 1, 2) == 'd:' and retention or math.min(retention, tonumber(ARGV[5]))
    local over = tonumber(string.match(all[i + 1], '^%S+ (%S+)')) + kept
    if over <= now then
      redis.call('HDEL', KEYS[6], name)
    else
      due = math.min(due or over, over)
    end
  end
end
local first = redis.call('LINDEX', KEYS[1], 0)
if first then
  local _, time = struct.unpack(REF, first)
  due = math.min(due or math.huge, time + retention)
end
if not due and ARGV[7] == '1' then
  due = now + retention
elseif not due then
  -- No message and no device: only the numbering is left, so that a late device can be told the
  -- truth about what it missed. It goes when the profile's time is over.
  local over = last_used + tonumber(ARGV[3])
  -- Deliveries count on it to be looked at before the next message is past its time.
  due = math.min(over, now + retention)
  if over <= now and tonumber(ARGV[3]) > 0 and has_rows() then
    due = now -- a message came since the rows were looked at
  elseif over <= now then
    redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[6], KEYS[7])
    if tonumber(ARGV[3]) == 0 then -- the app is gone; else a block stays for good
      redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[8], KEYS[9], KEYS[10], KEYS[11])
    end
    if redis.call('EXISTS', KEYS[4], KEYS[5], KEYS[9], KEYS[10]) == 0 then
      redis.call('ZREM', KEYS[3], ARGV[4])
      return
    end
    due = now + tonumber(ARGV[3])
  end
end
redis.call('ZADD', KEYS[3], string.format('%.0f', due), ARGV[4])
