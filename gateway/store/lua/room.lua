-- What the scripts of rooms share. After half.lua.
--
-- seats: sorted set, one member `<user>:<device>` a seat; its score is the ms at which the seat is
-- given up unless it is kept. users: hash, user -> how many seats, so that a user with two devices
-- is one member. Both are changed here only.
local function give_up(seats, users, seat)
  redis.call('ZREM', seats, seat)
  local user = string.match(seat, '^[^:]+')
  if redis.call('HINCRBY', users, user, -1) <= 0 then
    redis.call('HDEL', users, user)
  end
end

local function take(seats, users, seat, ends, ttl)
  if redis.call('ZADD', seats, ends, seat) == 1 then
    redis.call('HINCRBY', users, string.match(seat, '^[^:]+'), 1)
  end
  redis.call('PEXPIRE', seats, ttl)
  redis.call('PEXPIRE', users, ttl)
end

-- Seats whose time is over; bounded, so that a mass exit does not hold Redis up.
local function reap(seats, users, now)
  for _, seat in ipairs(redis.call('ZRANGEBYSCORE', seats, '-inf', now, 'LIMIT', 0, 5000)) do
    give_up(seats, users, seat)
  end
end

-- Up to which number the numbers of the epoch `of` mean the same messages in `epoch`, a room's; nil where
-- nobody knows. The name of an epoch is 8 digits; where it goes on with the numbers of another one, the 8 of
-- that one follow, and up to which number (gateway/store/rooms.py).
local function kept(epoch, of, top)
  if of == epoch then
    return top
  elseif of ~= '' and string.sub(epoch, 9, 16) == string.sub(of, 1, 8) then
    return tonumber(string.sub(epoch, 17))
  end
end

-- Where the room stands: epoch, last seq, last ms. `heard` is the highest number that the asking
-- gateway has heard of the epoch `of`, '' where it has heard none; `run` is the run of the server.
--
-- A Redis that came back older may know less than what was heard, here or elsewhere. The numbers it would
-- give next were given to other messages, so a new epoch begins, above what was heard: with each run of
-- the server, and where this gateway has heard more. With another run of the server the new epoch goes on with
-- the numbers of the one before where this gateway was there, and has heard nothing that the server lacks;
-- until another gateway comes that has.
local function stands(meta, log, of, heard, new_epoch, run)
  local known = redis.call('HMGET', meta, 'e', 'q', 't', 'r')
  local epoch, top, ms = known[1], tonumber(known[2]) or 0, tonumber(known[3]) or 0
  local same = epoch and kept(epoch, of, top)
  local more = same and tonumber(heard) > same
  if not epoch then
    local seq, last = half(log)
    top, ms = seq or 0, last or 0
  elseif not more and known[4] == run then
    return epoch, top, ms
  elseif more then
    top = math.max(top, tonumber(heard))
  elseif epoch == of then
    new_epoch = new_epoch .. string.sub(epoch, 1, 8) .. string.format('%.0f', top)
  end
  redis.call('HSET', meta, 'e', new_epoch, 'q', string.format('%.0f', top),
    't', string.format('%.0f', ms), 'r', run)
  return new_epoch, top, ms
end

-- 'not_in_room' where a user has no seat, or nil.
local function unseated(users, user)
  return redis.call('HEXISTS', users, user) == 0 and 'not_in_room' or nil
end

-- Why a room's policy lets a user not write, or nil.
local function barred(meta, user)
  local policy = redis.call('HMGET', meta, 'w', 'a', 'o')
  if policy[1] == 'admins' and policy[3] ~= user
    and not string.find(' ' .. (policy[2] or '') .. ' ', ' ' .. user .. ' ', 1, true) then
    return 'room_read_only'
  end
end

