-- A device connects: is it still let in, where does it stand, what waits for it.
--
-- KEYS  1 inbox  2 meta  3 revoked  4 due list  5 channel
-- ARGV  1 now ms  2 retention ms  3 device  4 session  5 token issued at, ms
--       6 7 8 the client's own cursor: epoch (empty: none), ms, seq
--       9 page size  10 epoch for a new inbox  11 member of the due list  12 most devices kept
-- Returns {'revoked'}, or {'ok', epoch, top ms, top seq, start ms, start seq, resumed, entries}.
local now, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local device, session = ARGV[3], ARGV[4]

local before = redis.call('GET', KEYS[3])
if before and tonumber(ARGV[5]) < tonumber(before) then
  return {'revoked'}
end

local field = 'd:' .. device
local known = redis.call('HMGET', KEYS[2], 'e', 'q', 't', 'f', field)
local epoch = known[1]
local top_seq, top_ms = tonumber(known[2]) or 0, tonumber(known[3]) or 0
if not epoch then
  epoch = ARGV[10]
end

-- A device that was never here, or was forgotten, begins after what all others have acknowledged.
local acked, previous = known[4] or '0-0', ''
if known[5] then
  local id, _, holder = string.match(known[5], '^(%S+) (%S+) (%S*)$')
  acked, previous = id, holder
end

local start, resumed = acked, 0
if ARGV[6] ~= '' and ARGV[6] == epoch then
  local given = ARGV[7] .. '-' .. ARGV[8]
  local given_seq = tonumber(ARGV[8])
  local after = redis.call('XRANGE', KEYS[1], '(' .. given, '+', 'COUNT', 1)
  local after_seq = after[1] and tonumber(string.match(after[1][1], '-(%d+)$'))
  if given_seq > top_seq or (after_seq and after_seq <= given_seq) then
    -- Redis came back with an older state, and numbers this client has seen were given again.
    -- A new epoch tells every device of the user that its own cursor means nothing now.
    epoch = ARGV[10]
  else
    start, resumed = given, 1
    -- Only what is really there counts as acknowledged: a made-up cursor must not trim.
    local acked_seq = tonumber(string.match(acked, '-(%d+)$'))
    if given_seq > acked_seq and redis.call('XRANGE', KEYS[1], given, given)[1] then
      acked = given
    end
  end
end

redis.call('HSET', KEYS[2], 'e', epoch, 'u', ARGV[1],
  field, acked .. ' ' .. ARGV[1] .. ' ' .. session)
redis.call('ZADD', KEYS[4], 'NX', now + retention, ARGV[11])
if previous ~= '' and previous ~= session then
  redis.call('SPUBLISH', KEYS[5], '\4' .. session .. device)
end

if redis.call('HLEN', KEYS[2]) > 5 + tonumber(ARGV[12]) then
  -- Too many devices: the one unseen longest is forgotten.
  local all, oldest, oldest_seen = redis.call('HGETALL', KEYS[2]), nil, nil
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'd:' and all[i] ~= field then
      local seen = tonumber(string.match(all[i + 1], '^%S+ (%S+)'))
      if not oldest_seen or seen < oldest_seen then
        oldest, oldest_seen = all[i], seen
      end
    end
  end
  redis.call('HDEL', KEYS[2], oldest)
end

-- Nothing past its time is read, even if it is still here: the first ms that is young enough.
local youngest = now - retention + 1
local from = '(' .. start
if tonumber(string.match(start, '^(%d+)')) < youngest then
  from = string.format('%.0f-0', youngest)
end
local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[9])
local start_ms, start_seq = string.match(start, '^(%d+)-(%d+)$')
return {'ok', epoch, string.format('%.0f', top_ms), string.format('%.0f', top_seq),
  start_ms, start_seq, resumed, entries}
