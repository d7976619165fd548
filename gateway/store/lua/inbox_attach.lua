#!lua flags=allow-oom
-- A device connects: is it still let in, where does it stand, what waits for it. After row.lua
-- and waiting.lua.
--
-- KEYS  1 inbox  2 meta  3 revocations  4 due list  5 channel  6 blocked by
--       7 presence channel  8 rows
-- ARGV  1 now ms  2 retention ms  3 device  4 session  5 token issued at, ms
--       6 7 8 the client's own cursor: epoch (-1: none), ms, seq
--       9 page size  10 epoch for a new inbox  11 member of the due list  12 most devices kept
--       13 most devices connected at once  14 'replace' or 'refuse': what happens past that
--       15 platform of this device  16 how long a connected device may go unseen, ms
--       17 'ephemeral' where the session is no device, or ''  18 most bytes of the page
--       19 digest of the token
-- Returns {'revoked'}, {'too many'}, or {'ok', epoch, top, time in ms of the number after which the device
-- begins, 0 where it is not known any more, that number, the number before the first reference that is here, resumed, references, number of the last change of blocks, when an
-- earlier session of the device was seen last in ms, 1 where one of the first two keys was gone,
-- connected since in ms}. Of two sessions of a device the later one is connected since later,
-- whatever clocks say.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local device, session = ARGV[3], ARGV[4]

local before, token = unpack(redis.call('HMGET', KEYS[3], 'before', ARGV[19]))
if token or before and tonumber(ARGV[5]) < tonumber(before) then
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

local known = redis.call('HMGET', KEYS[2], 'f', field)
local epoch, top, base, lost = numbering(KEYS[8], KEYS[1])
epoch = epoch or tonumber(ARGV[10])

-- A device that was never here, or was forgotten, begins after what all others have acknowledged.
local acked, previous, seen_last, connected = tonumber(known[1]) or 0, '', '0', now
if known[2] then
  local stands, since
  stands, seen_last, previous, since = string.match(known[2], '^(%S+) (%S+) (%S*) ?(%d*)')
  acked, connected = tonumber(stands), math.max(now, (tonumber(since) or 0) + 1)
end
connected = string.format('%.0f', connected)
acked = math.min(acked, top)

local start, resumed = acked, 0
if tonumber(ARGV[6]) == epoch then
  local seq = tonumber(ARGV[8])
  local there = given(KEYS[1], top, base, seq, tonumber(ARGV[7]))
  if there == false then
    -- Redis came back with an older state, and numbers this client has seen were given again.
    -- A new epoch tells every device of the user that its own cursor means nothing now.
    epoch = tonumber(ARGV[10])
  else
    start, resumed = seq, 1
    -- Only what is really there counts as acknowledged: a made-up cursor must not trim.
    if there and seq > acked then
      acked = seq
    end
  end
end
redis.call('HSET', KEYS[8], '#', struct.pack(TOP, epoch, top, base) .. MET)
if lost == 1 then
  redis.call('HDEL', KEYS[8], '#d')
end

local row = acked .. ' ' .. ARGV[1] .. ' ' .. session .. ' ' .. connected .. ' ' .. ARGV[15]
if ephemeral then
  -- Its gateway may be killed: then the sweeper takes the row away.
  redis.call('HSET', KEYS[2], field, row)
  redis.call('ZADD', KEYS[4], 'LT', now + tonumber(ARGV[16]), ARGV[11])
else
  redis.call('HSET', KEYS[2], 'u', ARGV[1], field, row)
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

-- A client that comes back with this very cursor is believed only if the time is right.
local begin, ms = math.max(start, base), 0
if start > base then
  local _, time = struct.unpack(REF, redis.call('LINDEX', KEYS[1], start - base - 1))
  ms = time
elseif resumed == 1 then
  ms = tonumber(ARGV[7])
end
return {'ok', epoch, top, ms, start, begin, resumed,
  refs_after(KEYS[1], base, begin, tonumber(ARGV[9]), tonumber(ARGV[18])), redis.call('HGET', KEYS[6], '') or '0',
  tonumber(seen_last), lost, tonumber(connected)}
