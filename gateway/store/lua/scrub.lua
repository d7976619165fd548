#!lua flags=allow-oom
-- Look at keys of one bucket that were found by chance: what stands in no due list gets there, and a chunk
-- that no head names goes. After stored.lua and head.lua.
--
-- KEYS  1 due list  then for each key: the key, and the head if it is a chunk, else the key again
-- ARGV  1 now ms  then for each key three: of a chunk 'chunk', its birth (4 bytes), its number;
--       else 'due' or, where its app is gone, 'gone', its member of the due list, ''
-- Returns {chunks that went, members that were in no due list}.
local removed, added = 0, 0
for i = 2, #ARGV, 3 do
  local at = 2 * (i - 2) / 3 + 2
  local said, name = ARGV[i], ARGV[i + 1]
  if said == 'chunk' then
    local head, k = head_of(KEYS[at + 1]), tonumber(ARGV[i + 2])
    if not head or head.birth ~= name or k < math.floor((head.b + 1) / CHUNK) or k > math.floor(head.q / CHUNK) then
      removed = removed + redis.call('UNLINK', KEYS[at])
    end
  elseif redis.call('EXISTS', KEYS[at]) == 1 then -- it may have gone since
    if said == 'due' then
      added = added + redis.call('ZADD', KEYS[1], 'NX', ARGV[1], name)
    else
      redis.call('ZADD', KEYS[1], 0, name)
    end
  end
end
return {removed, added}
