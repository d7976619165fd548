-- Shared by conversation_edit.lua and conversation_recall.lua, after stored.lua, head.lua, append.lua and
-- spell.lua: put another record in the place of a message, and add the notice of it, in one step.
--
-- KEYS  1 head  2 due list
-- ARGV  1 now ms  2 epoch for what is new here  3 incarnation of the server  4 member of the due list
--       5 when somebody else should look after the notice, ms  6 number of the message
--       7 the change that is expected there now  8 the number of this change  9 record
--       10 flags of the notice  11 record of the notice
-- Returns PLACE, and the stored notice. Where this change is there already, the last message stands in
-- place of the notice, so that what is owed can be told. '' where another change is there, or nothing.
local function replace()
  local head = head_to_add(KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3]), KEYS[2], ARGV[4])
  local seq = tonumber(ARGV[6])
  local chunk = chunk_of(KEYS[1], head.birth, seq)
  local value = seq <= head.q and seq > head.b and redis.call('HGET', chunk, ARGV[6])
  if not value then
    return ''
  end
  local change, flags, time, n, ends = parts(value)
  if bit.band(flags, OVER) ~= 0 then
    return ''
  end
  if change == tonumber(ARGV[8]) then
    head.value = redis.call('HGET', chunk_of(KEYS[1], head.birth, head.q), head.q .. '')
  elseif change ~= tonumber(ARGV[7]) then
    return ''
  else
    local failed = append(KEYS[1], head, head.q + 1 .. '', tonumber(ARGV[10]), tonumber(ARGV[1]), 0, ARGV[11],
      KEYS[2], ARGV[4], ARGV[5])
    if failed then
      return failed
    end
    redis.call('HSET', chunk, ARGV[6], spelled(tonumber(ARGV[8]), flags, time, n, ends, ARGV[9]))
  end
  return struct.pack('>I4I4I4I4I4I4', head.q, head.e, head.z, head.zn, head.b, head.bn) .. (head.value or '')
end

