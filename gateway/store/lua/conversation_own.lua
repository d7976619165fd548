#!lua flags=no-writes
-- How many of some messages of a conversation did somebody write? After stored.lua, parts.lua and head.lua.
--
-- KEYS  1 head
-- ARGV  1 down from this number  2 to the one after this, and  3 to the first whose n is above this
--       4 author  5 most numbers looked at  6 most bytes, but for three messages
-- Returns {how many that count, the number that it goes on from, or 0 at the end}.
local head, own = head_of(KEYS[1]), 0
if not head then
  return {0, 0}
end
local seq, low, base = math.min(head.q, tonumber(ARGV[1])), math.max(head.b, tonumber(ARGV[2])), tonumber(ARGV[3])
local its_author, looks, bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
while seq > low do
  local chunk, fields = chunk_of(KEYS[1], head.birth, seq), {}
  local lowest = math.max(low + 1, seq - seq % CHUNK, seq - 3)
  for number = seq, lowest, -1 do
    fields[#fields + 1] = number .. ''
  end
  local values = redis.call('HMGET', chunk, unpack(fields))
  for i = 1, #fields do
    if values[i] then -- or it was lost
      local _, flags, _, n, author = parts(values[i])
      if n <= base then
        return {own, 0}
      end
      bytes = bytes - #values[i]
      if bit.band(flags, COUNTS) ~= 0 and author == its_author then
        own = own + 1
      end
    end
  end
  looks, seq = looks - #fields, lowest - 1
  if (looks <= 0 or bytes <= 0) and seq > low then
    return {own, seq}
  end
end
return {own, 0}
