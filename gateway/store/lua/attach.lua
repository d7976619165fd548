#!lua flags=allow-oom
-- A device connects: is it still let in, where does it stand, what waits for it. After half.lua.
--
-- KEYS  1 inbox  2 meta  3 revoked  4 due list  5 channel  6 blocked by
--       7 presence channel
-- ARGV  1 now ms  2 retention ms  3 device  4 session  5 token issued at, ms
--       6 7 8 the client's own cursor: epoch (empty: none), ms, seq
--       9 page size  10 epoch for a new inbox  11 member of the due list  12 most devices kept
--       13 most devices connected at once  14 'replace' or 'refuse': what happens past that
--       15 platform of this device  16 how long a connected device may go unseen, ms
--       17 'ephemeral' where the session is no device, or ''
-- Returns {'revoked'}, {'too many'}, or {'ok', epoch, top ms, top seq, start ms, start seq, resumed,
-- entries, blocked by (HGETALL), when an earlier session of the device was seen last in ms, 1 where
-- one of the first two keys was gone, connected since in ms}. Of two sessions of a device the later
-- one is connected since later, whatever clocks say.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local device, session = ARGV[3], ARGV[4]

local before = redis.call('GET', KEYS[3])
if before and tonumber(ARGV[5]) < tonumber(before) then
  return {'revoked'}
end

-- A session that is no device has a row only while it is connected.
local ephemeral = ARGV[17] ~= ''
local kind, field = 'd:', 'd:' .. device
if ephemeral then
  kind, field = 's:', 's:' .. session
end

-- Who is connected besides? A session whose gateway was killed is not, once it is unseen for long.
local others, same = 0, {}
local rows = redis.call('HGETALL', KEYS[2])
for i = 1, #rows, 2 do
  if string.sub(rows[i], 1, 2) == kind and rows[i] ~= field then
    local id, seen, holder, since, platform =
      string.match(rows[i + 1], '^(%S+) (%S+) (%S*) ?(%d*) ?(.*)$')
    if holder ~= '' and holder ~= '!' and tonumber(seen) > now - tonumber(ARGV[16]) then
      others = others + 1
      if platform == ARGV[15] then
        table.insert(same, {
          field = rows[i], holder = holder, since = tonumber(since) or 0,
          row = id .. ' ' .. seen .. ' ! ' .. since .. ' ' .. platform,
        })
      end
    end
  end
end
local over = others + 1 - tonumber(ARGV[13])
if over > 0 then
  if ARGV[14] ~= 'replace' or #same < over then
    return {'too many'}
  end
  table.sort(same, function(a, b)
    return a.since < b.since or a.since == b.since and a.field < b.field
  end)
end

local known = redis.call('HMGET', KEYS[2], 'e', 'q', 't', 'f', field)
local epoch = known[1]
local top_seq, top_ms = tonumber(known[2]) or 0, tonumber(known[3]) or 0
local lost = 0
if not epoch then
  epoch = ARGV[10]
  local seq, ms, floor = half(KEYS[1])
  if seq then
    top_seq, top_ms, known[4], lost = seq, ms, floor, 1
    redis.call('HSET', KEYS[2], 'q', string.format('%.0f', seq), 't', string.format('%.0f', ms),
      'f', floor)
  end
elseif top_seq > 0 and redis.call('EXISTS', KEYS[1]) == 0 then
  -- An empty one takes its place. What of it a device had not acknowledged is told as lost below.
  lost = 1
  local id = string.format('%.0f-%.0f', top_ms, top_seq)
  redis.call('XADD', KEYS[1], id, 'm', '')
  redis.call('XDEL', KEYS[1], id)
end

-- A device that was never here, or was forgotten, begins after what all others have acknowledged.
local acked, previous, seen_last, connected = known[4] or '0-0', '', '0', now
if known[5] then
  local since
  acked, seen_last, previous, since = string.match(known[5], '^(%S+) (%S+) (%S*) ?(%d*)')
  connected = math.max(now, (tonumber(since) or 0) + 1)
end
connected = string.format('%.0f', connected)

-- Nothing past its time is read, even if it is still here: the first ms that is young enough.
local youngest = now - retention + 1
local start, resumed = acked, 0
-- Is it past its time, and here only until the sweeper comes?
local function over_already(entry)
  local expires = entry[2][3] == 'x' and entry[2][4]
  return tonumber(string.match(entry[1], '^(%d+)')) < youngest
    or expires and tonumber(expires) <= now
end
if ARGV[6] ~= '' and ARGV[6] == epoch then
  local given, given_seq = ARGV[7] .. '-' .. ARGV[8], tonumber(ARGV[8])
  local there = redis.call('XRANGE', KEYS[1], given, given)[1]
  -- Times and numbers grow together, and an entry goes from the head, or alone when its own time to
  -- live ends. So the given one must be here, or be between what lies before it and after it. What
  -- is over is passed over with the time of what follows it: it then lies before its own number.
  local before_it = redis.call('XREVRANGE', KEYS[1], given, '-', 'COUNT', 1)[1]
  local after_it = redis.call('XRANGE', KEYS[1], '(' .. given, '+', 'COUNT', 1)[1]
  local before_seq = before_it and tonumber(string.match(before_it[1], '-(%d+)$')) or 0
  local fits = given_seq <= top_seq and tonumber(ARGV[7]) <= top_ms
    and (not before_it or before_seq < given_seq
      or before_seq == given_seq and over_already(before_it))
    and (not after_it or tonumber(string.match(after_it[1], '-(%d+)$')) > given_seq)
  if there or fits then
    start, resumed = given, 1
    -- Only what is really there counts as acknowledged: a made-up cursor must not trim.
    if there and given_seq > tonumber(string.match(acked, '-(%d+)$')) then
      acked = given
    end
  else
    -- Redis came back with an older state, and numbers this client has seen were given again.
    -- A new epoch tells every device of the user that its own cursor means nothing now.
    epoch = ARGV[10]
  end
end

local row = acked .. ' ' .. ARGV[1] .. ' ' .. session .. ' ' .. connected .. ' ' .. ARGV[15]
if ephemeral then
  -- Its gateway may be killed: then the sweeper takes the row away.
  redis.call('HSET', KEYS[2], 'e', epoch, field, row)
  redis.call('ZADD', KEYS[4], 'LT', now + tonumber(ARGV[16]), ARGV[11])
else
  redis.call('HSET', KEYS[2], 'e', epoch, 'u', ARGV[1], field, row)
  redis.call('ZADD', KEYS[4], 'LT', now + retention, ARGV[11])
  redis.call('SPUBLISH', KEYS[7], 'c')
end
for i = 1, over do
  -- '!' keeps for the regular check what the word on the channel may not reach.
  redis.call('HSET', KEYS[2], same[i].field, same[i].row)
  redis.call('SPUBLISH', KEYS[5], '\20' .. same[i].holder)
end
if previous ~= '' and previous ~= session then
  redis.call('SPUBLISH', KEYS[5], '\4' .. session .. device)
end

local most = tonumber(ARGV[12])
if not ephemeral and redis.call('HLEN', KEYS[2]) > most then
  -- Perhaps too many devices: then the one unseen longest is forgotten.
  local all, devices, oldest, oldest_seen = redis.call('HGETALL', KEYS[2]), 0, nil, math.huge
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'd:' then
      devices = devices + 1
      local seen = tonumber(string.match(all[i + 1], '^%S+ (%S+)'))
      if seen < oldest_seen and all[i] ~= field then
        oldest, oldest_seen = all[i], seen
      end
    end
  end
  if devices > most then
    redis.call('HDEL', KEYS[2], oldest)
  end
end

local from = '(' .. start
if tonumber(string.match(start, '^(%d+)')) < youngest then
  from = string.format('%.0f-0', youngest)
end
local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[9])
local start_ms, start_seq = string.match(start, '^(%d+)-(%d+)$')
return {'ok', epoch, string.format('%.0f', top_ms), string.format('%.0f', top_seq),
  start_ms, start_seq, resumed, entries, redis.call('HGETALL', KEYS[6]), seen_last, lost,
  connected}
