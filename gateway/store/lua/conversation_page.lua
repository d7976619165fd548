#!lua flags=no-writes
-- A page of a conversation's history. After stored.lua, parts.lua and head.lua.
--
-- KEYS  1 head
-- ARGV  1 the first ms that is young enough  2 now ms  3 'before' or 'after'
--       4 the number that the page is before or after, or '' for the newest or the oldest
--       5 what is above this number only  6 and up to this one, 0: no end  7 most messages
--       8 most bytes, but for the first message  9 most numbers looked at
-- Returns {where reading goes on or 0 at the end, how many numbers were lost, then seq and stored message
-- of each}: newest first for 'before'. What has ended, or is kept out of the history, is left out.
local head = head_of(KEYS[1])
if not head then
  return {0, 0}
end
local birth, top, low = head.birth, head.q, head.b
local youngest, now, down = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == 'before'
low = math.max(low, tonumber(ARGV[5]))
if tonumber(ARGV[6]) > 0 then
  top = math.min(top, tonumber(ARGV[6]))
end
local seq = down and top or low + 1
if ARGV[4] ~= '' then
  seq = down and math.min(top, tonumber(ARGV[4]) - 1) or math.max(low, tonumber(ARGV[4])) + 1
end
local step, most, bytes, looks = down and -1 or 1, tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local page, lost = {0, 0}, 0
while seq > low and seq <= top do
  -- Four at a time: as many bytes too much are read here at most, and none of them is answered.
  local chunk, fields = math.floor(seq / CHUNK), {}
  local key, at = chunk_of(KEYS[1], birth, seq), seq
  while at > low and at <= top and math.floor(at / CHUNK) == chunk and #fields < 4 do
    fields[#fields + 1] = at .. ''
    at = at + step
  end
  local values = redis.call('HMGET', key, unpack(fields))
  for i = 1, #fields do
    local value = values[i]
    if not value then
      lost = lost + 1
    else
      local _, flags, time, _, _, ends = parts(value)
      if bit.band(flags, OVER + HIDDEN) == 0 and time >= youngest and (ends == 0 or ends > now) then
        bytes = bytes - #value
        if #page > 2 and (bytes < 0 or #page >= 2 * most + 2) then
          page[1], page[2] = down and seq + 1 or seq - 1, lost
          return page
        end
        page[#page + 1] = seq
        page[#page + 1] = value
      end
    end
    seq, looks = seq + step, looks - 1
  end
  if looks <= 0 and seq > low and seq <= top then
    page[1] = down and seq + 1 or seq - 1
    break
  end
end
page[2] = lost
return page
