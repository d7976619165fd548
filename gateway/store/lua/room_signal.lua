#!lua flags=allow-oom
-- Tell whoever is in a room now; nothing is kept.
--
-- KEYS  1 meta  2 seats  3 users  4 channel
-- ARGV  1 now ms  2 user  3 event
-- Returns ok, or why not.
reap(KEYS[2], KEYS[3], tonumber(ARGV[1]))
local no = unseated(KEYS[3], ARGV[2]) or barred(KEYS[1], ARGV[2])
if no then
  return no
end
redis.call('SPUBLISH', KEYS[4], ARGV[3])
return 'ok'
