#!lua flags=no-writes
-- Messages by their numbers, of conversations of one bucket. After stored.lua, parts.lua and head.lua.
--
-- KEYS  the heads
-- ARGV  1 most bytes  2 '1' where the first message is returned even if it is larger
--       then for each head: how many numbers, and these
-- Returns for each number, in the same order, the stored message, or '' where there is none. What comes
-- after the bytes are used up is left out.
local bytes, replies, at = tonumber(ARGV[1]), {}, 3
-- Four at a time, and up to 16 where those before were small: an edit may have made the next ones large,
-- and these are then read in vain.
local most, largest = 4, 0
for k = 1, #KEYS do
  local head, count = head_of(KEYS[k]), tonumber(ARGV[at])
  local done = 0
  while done < count do
    local first, fields = tonumber(ARGV[at + 1 + done]), {}
    local chunk = math.floor(first / CHUNK)
    while done + #fields < count and #fields < most
      and math.floor(tonumber(ARGV[at + 1 + done + #fields]) / CHUNK) == chunk do
      fields[#fields + 1] = ARGV[at + 1 + done + #fields]
    end
    local values = head and redis.call('HMGET', chunk_of(KEYS[k], head.birth, first), unpack(fields)) or {}
    for i = 1, #fields do
      local value = values[i] or ''
      bytes = bytes - #value
      if bytes < 0 and (#replies > 0 or ARGV[2] == '') then
        return replies
      end
      largest = math.max(largest, #value)
      replies[#replies + 1] = value
    end
    done = done + #fields
    most = math.min(math.max(4, math.floor(bytes / math.max(1, largest) / 4)), 16)
  end
  at = at + 1 + count
end
return replies
