#!lua flags=allow-oom
-- Take out of a conversation what is past its time, and note when to look again. After stored.lua.
--
-- KEYS  1 head  2 due list
-- ARGV  1 now ms  2 retention ms  3 how long an unused numbering is kept, ms  4 member of the due list
--       5 most messages in this call
-- Returns {how many were removed, 1 where more are due, '' or the epoch where references are owed, q, d}.
local CLOCKS = 10000
local known = redis.call('HMGET', KEYS[1], 'e', 'a', 'q', 'b', 'bn', 'd', 'g', 'gone')
if not known[1] then
  redis.call('ZREM', KEYS[2], ARGV[4])
  return {0, 0, '', 0, 0}
end
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local birth, top, low, low_n = known[2] or known[1], tonumber(known[3]), tonumber(known[4]) or 0,
  tonumber(known[5]) or 0
local settled = tonumber(known[6]) or 0
local youngest, most, removed, moved, due = now - retention + 1, tonumber(ARGV[5]), 0, false, nil
local last_time = tonumber(known[7]) or 0
while low < top and most > 0 do
  local seq = low + 1
  local chunk, field = chunk_of(KEYS[1], birth, seq), whole(seq)
  local last = CHUNK * math.floor(seq / CHUNK) + CHUNK - 1
  local value = last < top and redis.call('HGET', chunk, whole(last))
  if value then
    -- A whole chunk at once. Clocks of gateways differ a little, so the last is not the latest for sure.
    local _, _, time, n = parts(value)
    if time + CLOCKS < youngest then
      removed = removed + redis.call('HLEN', chunk)
      redis.call('UNLINK', chunk)
      low, low_n, last_time, moved, seq = last, n, math.max(last_time, time), true, nil
      most = most - 1
    end
  end
  value = seq and redis.call('HGET', chunk, field)
  if value then
    local _, _, time, n = parts(value)
    if time >= youngest then
      due = time + retention
      break
    end
    low_n, last_time = n, math.max(last_time, time)
    redis.call('HDEL', chunk, field)
    removed = removed + 1
  end
  if seq then
    low, most, moved = seq, most - 1, true
  end
end
if moved then
  redis.call('HSET', KEYS[1], 'b', whole(low), 'bn', whole(low_n), 'g', whole(last_time))
end
local more = not due and low < top
if more then
  due = now
elseif not due then
  due = known[8] and now or last_time + tonumber(ARGV[3])
  if due <= now then
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], ARGV[4])
    return {removed, 0, '', 0, 0}
  end
end
-- What is owed stays due until it is settled (settled.lua).
local owed = settled < top and low < top
if not owed then
  redis.call('ZADD', KEYS[2], whole(due), ARGV[4])
end
return {removed, more and 1 or 0, owed and known[1] or '', top, settled}
