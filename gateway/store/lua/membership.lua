#!lua
-- Change a group, if nobody else has meanwhile, and add the notice of it to its conversation: in one
-- step, so that membership is an interval of the conversation's numbers. After stored.lua, append.lua and
-- happened.lua.
--
-- KEYS  1 state  2 head  3 due list
-- ARGV  1 the version to change, 0 for none  2 the new version  3 now ms
--       4 when somebody else should look after the notice, ms  5 member of the due list
--       6 epoch for what is new here, and run of the server, 4 bytes each
--       7 flags and 8 record of the notice  9 '' or, where the group ends, anything
--       10 event (happened.lua)
--       then triples: 'set', field, value; 'del', field, ''; 'in', user, role; 'out', user, ''
-- A member is 'u:<user>' with '<role> <from> <n of from>'; one who went and may not know it yet is
-- 'x:<user>' with '<from> <n of from> <until> <n of until>'. Who joins is in from the notice on, who goes is
-- out after it. Whether a user may be added without being asked is decided by the version to change ('l:', 'i:').
-- Returns how many bytes of messages went, or -1 where the group has another version, or its head is lost
-- (group_read.lua).
local version = redis.call('HGET', KEYS[1], 'v') or '0'
local packed = redis.call('HGET', KEYS[2], 'h')
if version ~= ARGV[1] or version ~= '0' and not packed then
  return -1
end
local before, before_n, d, fixed = head_to_add(packed, string.sub(ARGV[6], 1, 4), string.sub(ARGV[6], 5, 8),
  KEYS[3], ARGV[5])
if version == '0' then
  fixed = string.sub(fixed, 1, 28) .. '\0' -- one with this id may have ended before
end
local hooks, members = ARGV[10] ~= '' and hooks_of(KEYS[3], ARGV[5]), {}
for i = 11, #ARGV, 3 do
  if ARGV[i] == 'in' or ARGV[i] == 'out' then
    members[i] = redis.call('HGET', KEYS[1], 'u:' .. ARGV[i + 1]) or ''
  end
end
local b, went = struct.unpack('>I4', fixed, 13), 0
if ARGV[9] ~= '' and before > b then
  -- What was said goes with the group; only the notice is kept, for its time.
  for number = math.floor((b + 1) / CHUNK), math.floor(before / CHUNK) do
    local chunk = chunk_of(KEYS[2], string.sub(fixed, 25, 28), number * CHUNK)
    went = went + (redis.call('MEMORY', 'USAGE', chunk, 'SAMPLES', CHUNK) or 0)
    redis.call('UNLINK', chunk)
  end
end
if ARGV[9] ~= '' then
  fixed = string.sub(fixed, 1, 12) .. struct.pack('>I4I4', before, before_n) .. string.sub(fixed, 21, 28) .. '\1'
end
local value = append(KEYS[2], before, before_n, d, fixed, before + 1 .. '', tonumber(ARGV[7]), tonumber(ARGV[3]), 0, 0,
  ARGV[8], KEYS[3], ARGV[5], ARGV[4])
if type(value) ~= 'string' then
  return value
end
local from = before .. ' ' .. before_n
for i = 11, #ARGV, 3 do
  local word, name, value = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if word == 'set' then
    redis.call('HSET', KEYS[1], name, value)
  elseif word == 'del' then
    redis.call('HDEL', KEYS[1], name)
  elseif word == 'in' then
    local since = string.match(members[i], ' (%d+ %d+)$')
    redis.call('HSET', KEYS[1], 'u:' .. name, value .. ' ' .. (since or from))
    if not since then
      redis.call('HDEL', KEYS[1], 'x:' .. name, 'l:' .. name, 'i:' .. name)
    end
  elseif members[i] ~= '' then
    redis.call('HDEL', KEYS[1], 'u:' .. name)
    redis.call('HSET', KEYS[1], 'x:' .. name,
      string.match(members[i], ' (%d+ %d+)$') .. ' ' .. (before + 1) .. ' ' .. before_n)
  end
end
redis.call('HSET', KEYS[1], 'v', ARGV[2])
if hooks then
  happened(hooks, KEYS[3], ARGV[10], 1, tonumber(ARGV[3]), before + 1, '')
end
if ARGV[9] ~= '' then
  redis.call('HDEL', KEYS[1], 'n', 'q', 'c') -- the rest goes once all were told (settled.lua)
end
return went
