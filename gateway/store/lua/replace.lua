#!lua
-- Put a changed message in the place of the one that was sent, in streams of one bucket, so that the
-- old bytes are gone.
--
-- KEYS  1 dedupe  then, for each stream: stream, hash beside it
-- ARGV  1 message id, 16 bytes  2 from when on it may be there, ms  3 record  4 number of the change
--       5 the number that is expected there now, or '' for any that is lower
--       6 most entries of a stream that is written anew, and of all in this call
--       7 for longer ones: 'copy' to say so, 'delete' to take the message out, or '' to leave it
--       8 '' or, where nothing of the message may come any more, for how long to remember it, ms
-- Returns for each stream: 1 done, or nothing to do; 0 not the expected number; 2 too long;
-- 3 left for another call.
local id, from, change, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[6])

-- What may fail comes before the first write.
local lengths = {}
for i = 2, #KEYS, 2 do
  lengths[i] = redis.call('XLEN', KEYS[i])
  redis.call('HGET', KEYS[i + 1], 'g')
end

-- What to answer where this is not to be changed, or nil where it is.
local function settled(entry)
  local there = entry and change_of(entry[2])
  if ARGV[5] ~= '' and there ~= tonumber(ARGV[5]) then
    return 0
  end
  return (not there or there >= change) and 1 or nil
end

local function too_long(stream)
  local entry = find(stream, id, from, most)
  local reply = settled(entry)
  if reply then
    return reply
  elseif ARGV[7] == 'copy' then
    return 2
  elseif ARGV[7] == 'delete' then
    redis.call('XDEL', stream, entry[1])
  end
  return 1
end

local function in_place(stream, meta)
  -- Redis keeps many entries in one block, and one that is taken out is only marked until the block
  -- goes. So all are written anew, under the ids that they had; also where the message itself was
  -- acknowledged and is out already, but so lately that its block may be there.
  local entries, at = redis.call('XRANGE', stream, '-', '+'), nil
  for i, entry in ipairs(entries) do
    if string.sub(entry[2][2], 1, 16) == id then
      at = i
    end
  end
  local reply = settled(at and entries[at])
  if at and reply then
    return reply
  elseif at then
    entries[at][2] = changed(entries[at][2], ARGV[3], ARGV[4])
  elseif reply == 0 or not entries[1] or tonumber(string.match(entries[1][1], '^(%d+)')) < from then
    return reply
  end
  redis.call('DEL', stream)
  for _, entry in ipairs(entries) do
    redis.call('XADD', stream, entry[1], unpack(entry[2]))
  end
  redis.call('HINCRBY', meta, 'g', 1) -- whoever copies it meanwhile begins anew
  return 1
end

local replies, written = {}, 0
for i = 2, #KEYS, 2 do
  local reply
  if lengths[i] > most then
    reply = too_long(KEYS[i])
  elseif written > 0 and written + lengths[i] > most then
    reply = 3
  else
    reply = in_place(KEYS[i], KEYS[i + 1])
    written = written + lengths[i]
  end
  replies[#replies + 1] = reply
end
if ARGV[8] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[8])
end
return replies
