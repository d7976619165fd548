-- What a room is where the hash beside its stream is gone and the stream is not: a
-- Redis that evicts, or loses part of its memory, lets keys go one by one.

-- Returns the seq and the ms of the last entry, and the place before the first one; nothing where the
-- stream is gone too. The numbering goes on from there, under a new epoch: begun anew, it would put
-- new messages below old ones, and a device that was given the old ones would pass over the new.
local function half(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if not last then
    return
  end
  local ms, seq = string.match(last[1], '^(%d+)-(%d+)$')
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  local first_ms, first_seq = string.match(first[1], '^(%d+)-(%d+)$')
  return tonumber(seq), tonumber(ms), first_ms .. '-' .. string.format('%.0f', tonumber(first_seq) - 1)
end

