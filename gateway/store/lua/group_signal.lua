#!lua flags=allow-oom
-- Tell the members of a group who are of one bucket, and are here now; nothing is kept.
--
-- KEYS  for each member the channel; then for each the version since which its user is out (fence)
-- ARGV  1 the version of the membership it goes by  2 what to publish
local count = #KEYS / 2
local out = redis.call('MGET', unpack(KEYS, count + 1))
for i = 1, count do
  if not out[i] or tonumber(ARGV[1]) >= tonumber(out[i]) then
    redis.call('SPUBLISH', KEYS[i], ARGV[2])
  end
end
