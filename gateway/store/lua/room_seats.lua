#!lua flags=allow-oom
-- Seats are kept, left in two minutes, or left now.
--
-- KEYS  1 meta  2 seats  3 users  4 log
-- ARGV  1 now ms  2 keep, away or leave  3 seats end at, ms  4 ttl of the seats, ms
--       5 6 the highest number that this gateway has heard: epoch, seq  7 a new epoch
--       8 run of the server  9... seats
-- Returns {members, and of a keep epoch, top seq}.
reap(KEYS[2], KEYS[3], tonumber(ARGV[1]))
for i = 9, #ARGV do
  if ARGV[2] == 'keep' then
    take(KEYS[2], KEYS[3], ARGV[i], ARGV[3], ARGV[4])
  elseif redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    if ARGV[2] == 'away' then
      take(KEYS[2], KEYS[3], ARGV[i], ARGV[3], ARGV[4])
    else
      give_up(KEYS[2], KEYS[3], ARGV[i])
    end
  end
end
local members = redis.call('HLEN', KEYS[3])
if ARGV[2] ~= 'keep' then
  return {members}
end
local epoch, top = stands(KEYS[1], KEYS[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
redis.call('HSET', KEYS[1], 'u', ARGV[1])
if redis.call('PTTL', KEYS[1]) > 0 or top == 0 and redis.call('HEXISTS', KEYS[1], 'o') == 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[4]) -- see room_join.lua
end
return {members, epoch, string.format('%.0f', top)}
