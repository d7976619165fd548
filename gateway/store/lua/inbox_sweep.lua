#!lua flags=allow-oom
-- Take out of one user's inbox what is past its time, forget devices unseen for as long, and rows of
-- conversations that are as old; and note when to look again. After row.lua and waiting.lua.
--
-- KEYS  1 inbox  2 rows  3 due list  4 blocks  5 blocked by  6 meta  7 last closes
--       8 revocation  9 10 groups and rooms that the user made
-- ARGV  1 now ms  2 retention ms  3 how long an unused profile is kept, ms  4 member of the due list
--       5 how long a connected session may go unseen, ms
-- Returns how many messages were removed.
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
  redis.call('HSET', KEYS[2], '#', struct.pack(TOP, epoch, top, base))
end
local last_used, due, forgot, member = 0, nil, false, false
local rows = redis.call('HGETALL', KEYS[2])
for i = 1, #rows, 2 do
  if rows[i] == '#t' then
    last_used = math.max(last_used, tonumber(rows[i + 1]))
  elseif string.sub(rows[i], 1, 2) == '#m' then
    if struct.unpack('>I6', rows[i + 1]) <= base then
      redis.call('HDEL', KEYS[2], rows[i]) -- the inbox has room (shed.lua)
    end
  elseif string.sub(rows[i], 1, 1) ~= '#' then
    local _, _, _, time, _, _, _, _, _, upto = struct.unpack(ROW, rows[i + 1])
    last_used = math.max(last_used, time)
    if upto == 0 and retention > 0 and string.sub(rows[i], 1, 2) == 'g:' then
      member = true -- of a group, however long nothing is said in it (groups_of.lua)
    elseif time + retention + SLACK <= now or retention == 0 then
      redis.call('HDEL', KEYS[2], rows[i])
      forgot = true
    else
      due = math.min(due or math.huge, time + retention + SLACK)
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

if forgot then
  redis.call('HSET', KEYS[2], '#t', last_used)
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
if head then
  due = math.min(due or math.huge, head + retention)
end
if not due and member then
  due = now + retention
elseif not due then
  -- No message and no device: only the numbering is left, so that a late device can be told the
  -- truth about what it missed. It goes when the profile's time is over.
  local over = last_used + tonumber(ARGV[3])
  -- Deliveries count on it to be looked at before the next message is past its time.
  due = math.min(over, now + retention)
  if over <= now then
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[6], KEYS[7])
    if tonumber(ARGV[3]) == 0 then -- the app is gone; else a block stays for good
      redis.call('DEL', KEYS[4], KEYS[5], KEYS[8], KEYS[9], KEYS[10])
    end
    if redis.call('EXISTS', KEYS[4], KEYS[5], KEYS[9], KEYS[10]) == 0 then
      redis.call('ZREM', KEYS[3], ARGV[4])
      return removed
    end
    due = now + tonumber(ARGV[3])
  end
end
redis.call('ZADD', KEYS[3], string.format('%.0f', due), ARGV[4])
return removed
