#!lua flags=allow-oom
-- Take out of a conversation what is past its time, and note when to look again. After stored.lua,
-- parts.lua and head.lua.
--
-- KEYS  1 head  2 due list  3 of a group: its state
-- ARGV  1 now ms  2 retention ms  3 how long an unused numbering is kept, ms  4 member of the due list
--       5 most messages in this call  6 for a head that is lost: epoch, and run of the server, 4 bytes each
-- Returns {how many were removed, 1 where more are due, 1 where references may be owed, 1 where the head is lost}.
local CLOCKS = 10000 -- more than clocks of gateways differ
local head = head_of(KEYS[1])
local now, retention, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[5])
local profile = tonumber(ARGV[3])
-- The members of a group are in from some number on, so the numbers go on while there is the group; and whoever
-- deletes its app finds it by the due list.
local grouped = KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1
local alive = grouped and profile > 0
  and (head and head.over == 0 or not head and redis.call('HEXISTS', KEYS[3], 'gone') == 0)
if not head and alive then
  return {0, 0, 1, 0} -- whoever reads the group for that begins another numbering (group_read.lua)
elseif not head and not KEYS[3] and profile > 0 then
  -- What is looked after was here. The next message begins another numbering, as it does before the sweeper
  -- comes (append.lua); and this one's chunks are named by nobody, so they go (scrub.lua).
  redis.call('HSET', KEYS[1], 'h', struct.pack('>I4I4I6I4', 0, 0, now, 0) .. string.sub(ARGV[6], 1, 4)
    .. string.rep('\0', 16) .. string.sub(ARGV[6], 5, 8) .. string.sub(ARGV[6], 1, 4) .. '\0')
  redis.call('ZADD', KEYS[2], now + profile, ARGV[4])
  return {0, 0, 0, 1}
elseif not head then
  redis.call('DEL', KEYS[1], KEYS[3] or KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[4])
  return {0, 0, 0, 0}
end
local youngest, removed, due, before = now - retention + 1, 0, nil, head.b
while head.b < head.q and most > 0 do
  most = most - 1
  local seq = head.b + 1
  local last = seq - seq % CHUNK + CHUNK - 1
  local chunk = chunk_of(KEYS[1], head.birth, seq)
  local value = last < head.q and redis.call('HGET', chunk, last .. '')
  local _, time, n
  if value then
    _, _, time, n = parts(value)
  end
  if value and time + CLOCKS < youngest then
    -- A whole chunk at once. By clocks that differ, its last message may not be the latest.
    removed = removed + redis.call('HLEN', chunk)
    redis.call('UNLINK', chunk)
    head.b, head.bn = last, n
  else
    value = redis.call('HGET', chunk, seq .. '')
    if value then
      _, _, time, n = parts(value)
      if time >= youngest then
        due = time + retention
        break
      end
      head.bn = n
      redis.call('HDEL', chunk, seq .. '')
      removed = removed + 1
    end
    head.b = seq
  end
end
if head.b > before then
  head.d = math.max(head.d, head.b) -- nobody is owed what is gone, and append.lua goes by d
  save(KEYS[1], head)
end
local more = not due and head.b < head.q
-- What is owed stays due until it is settled (settled.lua).
local owed = head.d < head.q and head.b < head.q and (grouped or not KEYS[3])
if more then
  due = now
elseif not due then
  due = head.time + (head.over == 1 and 0 or profile)
  if due <= now and alive then
    due = now + profile
  elseif due <= now then
    redis.call('DEL', KEYS[1], KEYS[3] or KEYS[1])
    redis.call('ZREM', KEYS[2], ARGV[4])
    return {removed, 0, 0, 0}
  end
end
if not owed then
  redis.call('ZADD', KEYS[2], due, ARGV[4])
end
return {removed, more and 1 or 0, owed and 1 or 0, 0}
