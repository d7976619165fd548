#!lua flags=allow-oom
-- Seats are kept, left in two minutes, or left now.
--
-- KEYS  1 meta  2 seats  3 users
-- ARGV  1 now ms  2 keep, away or leave  3 seats end at, ms  4 ttl of the seats, ms  5... seats
-- Returns {members, top seq}.
reap(KEYS[2], KEYS[3], tonumber(ARGV[1]))
for i = 5, #ARGV do
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
if ARGV[2] == 'keep' then
  redis.call('HSET', KEYS[1], 'u', ARGV[1])
end
return {redis.call('HLEN', KEYS[3]), tonumber(redis.call('HGET', KEYS[1], 'q') or '0')}
