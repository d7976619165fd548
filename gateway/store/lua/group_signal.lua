#!lua flags=allow-oom
-- Tell the members of a group who are of one bucket, and are here now; nothing is kept.
--
-- KEYS  for each member: rows, channel
-- ARGV  1 what to publish  2 the conversation, as they call it
-- Whoever was told meanwhile that they are out (`until` of the row, row.lua) hears nothing.
for i = 1, #KEYS, 2 do
  local row = redis.call('HGET', KEYS[i], ARGV[2])
  if not row or string.sub(row, 41, 44) == '\0\0\0\0' then
    redis.call('SPUBLISH', KEYS[i + 1], ARGV[1])
  end
end
