#!lua flags=allow-oom
-- Is a live session still right, and did it miss anything? Asked after any pub/sub gap. After row.lua
-- and waiting.lua.
--
-- KEYS  1 inbox  2 meta  3 revocations  4 blocked by  5 rows
-- ARGV  1 now ms  2 field of the session's row  3 4 the last message the session was given: ms, seq
--       5 how long the device may go unseen before it is written down again, ms
--       6 since when the session is connected, as inbox_attach.lua said
-- Returns {epoch, top seq, holder of the device, revocations (HGETALL), number of the last change
-- of blocks}; the epoch is -1 where the numbering, or the row of the device, is no longer the one
-- that the session knows.
local field = ARGV[2]
local epoch, top, base = numbering(KEYS[5], KEYS[1])
epoch = epoch or -1
if given(KEYS[1], top, base, tonumber(ARGV[4]), tonumber(ARGV[3])) == false then
  epoch = -1
end
local holder = ''
local id, seen, session, rest = string.match(redis.call('HGET', KEYS[2], field) or '', '^(%S+) (%S+) (%S*)(.*)$')
-- Redis may have come back with the row of an earlier session: nobody took this one's place then.
if id and (tonumber(string.match(rest, '^ (%d+)')) or 0) >= tonumber(ARGV[6]) then
  holder = session
  -- A device that stays connected is not unseen.
  if tonumber(ARGV[1]) - tonumber(seen) > tonumber(ARGV[5]) then
    redis.call('HSET', KEYS[2], field, id .. ' ' .. ARGV[1] .. ' ' .. session .. rest)
    if string.sub(field, 1, 2) == 'd:' then
      redis.call('HSET', KEYS[2], 'u', ARGV[1])
    end
  end
else
  epoch = -1
end
return {epoch, top, holder,
  redis.call('HGETALL', KEYS[3]), redis.call('HGET', KEYS[4], '') or '0'}
