-- Shared by conversation_edit.lua and conversation_recall.lua, after stored.lua, parts.lua, append.lua
-- and spell.lua: put another record in the place of a message, and add the notice of it, in one step.
--
-- KEYS  1 head  2 due list
-- ARGV  1 now ms  2 epoch for what is new here, and run of the server, 4 bytes each  3 ''  4 member of the due list
--       5 when somebody else should look after the notice, ms  6 number of the message
--       7 the change that is expected there now  8 the number of this change  9 record
--       10 flags of the notice  11 record of the notice
-- Returns PLACE, and the stored notice. Where this change is there already, the last message stands in
-- place of the notice, so that what is owed can be told. '' where another change is there, or nothing.
local function replace()
  local seq, fresh, run = tonumber(ARGV[6]), string.sub(ARGV[2], 1, 4), string.sub(ARGV[2], 5, 8)
  local q, n_before, d, fixed = head_to_add(redis.call('HGET', KEYS[1], 'h'), fresh, run, KEYS[2], ARGV[4])
  local birth = string.sub(fixed, 25, 28)
  local chunk = chunk_of(KEYS[1], birth, seq)
  local value = seq <= q and seq > struct.unpack('>I4', fixed, 13) and redis.call('HGET', chunk, ARGV[6])
  if not value then
    return ''
  end
  local change, flags, time, n, ends = parts(value)
  if bit.band(flags, OVER) ~= 0 then
    return ''
  end
  local last
  if change == tonumber(ARGV[8]) then
    last = redis.call('HGET', chunk_of(KEYS[1], birth, q), q .. '') or ''
  elseif change ~= tonumber(ARGV[7]) or change > tonumber(ARGV[8]) then
    return ''
  else
    last = append(KEYS[1], q, n_before, d, fixed, q + 1 .. '', tonumber(ARGV[10]), tonumber(ARGV[1]), 0, ARGV[11],
      KEYS[2], ARGV[4], ARGV[5])
    if type(last) ~= 'string' then
      return last
    end
    q = q + 1
    redis.call('HSET', chunk, ARGV[6], spelled(tonumber(ARGV[8]), flags, time, n, ends, ARGV[9]))
  end
  return struct.pack('>I4', q) .. string.sub(fixed, 1, 20) .. last
end

