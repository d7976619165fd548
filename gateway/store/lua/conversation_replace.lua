-- Shared by conversation_edit.lua and conversation_recall.lua, after stored.lua, parts.lua, append.lua, spell.lua
-- and happened.lua: put another record in the place of a message, and add the notice of it, in one step. The
-- notice of an earlier edit ends, because it says what the message says no more.
--
-- KEYS  1 head  2 due list  3 of a group: its state
-- ARGV  1 now ms  2 epoch for what is new here, and run of the server, 4 bytes each
--       3 '' or, for a group, the version of the member list that the notice goes by  4 member of the due list
--       5 when somebody else should look after the notice, ms  6 number of the message
--       7 the change that is expected there now  8 the number of this change  9 record
--       10 flags of the notice  11 record of the notice  12 when the notice ends, ms, or 0
--       13 event (happened.lua)
-- Returns '>i4', by how many bytes less is stored of messages that were there; PLACE, and the stored notice. ''
-- where another change is there, or nothing. Or the group's version as
-- a number, if it is another; 0 where there is no group.
local function replace(edits)
  if ARGV[3] ~= '' then
    local group = redis.call('HMGET', KEYS[3], 'v', 'gone')
    local version = not group[2] and group[1] or '0'
    if version ~= ARGV[3] then
      return tonumber(version)
    end
  end
  local seq, fresh, run = tonumber(ARGV[6]), string.sub(ARGV[2], 1, 4), string.sub(ARGV[2], 5, 8)
  local q, n_before, d, fixed = head_to_add(redis.call('HGET', KEYS[1], 'h'), fresh, run, KEYS[2], ARGV[4])
  local birth = string.sub(fixed, 25, 28)
  local chunk = chunk_of(KEYS[1], birth, seq)
  local value = seq <= q and seq > struct.unpack('>I4', fixed, 13) and redis.call('HGET', chunk, ARGV[6])
  if not value then
    return ''
  end
  local change, flags, time, n, author, ends, notice = parts(value)
  if bit.band(flags, OVER) ~= 0 or change ~= tonumber(ARGV[7]) or change >= tonumber(ARGV[8]) then
    return ''
  end
  local hooks = ARGV[13] ~= '' and hooks_of(KEYS[2], ARGV[4])
  local its_chunk = chunk_of(KEYS[1], birth, notice)
  local told = notice ~= 0 and redis.call('HGET', its_chunk, notice .. '')
  local last = append(KEYS[1], q, n_before, d, fixed, q + 1 .. '', tonumber(ARGV[10]), tonumber(ARGV[1]),
    0, tonumber(ARGV[12]), ARGV[11], KEYS[2], ARGV[4], ARGV[5])
  if type(last) ~= 'string' then
    return last
  end
  if told then
    redis.call('HSET', its_chunk, notice .. '', ended(told))
  end
  local changed = spelled(tonumber(ARGV[8]), flags, time, n, author, ends, edits and q + 1 or 0, ARGV[9])
  redis.call('HSET', chunk, ARGV[6], changed)
  if hooks then
    happened(hooks, KEYS[2], ARGV[13], 1, tonumber(ARGV[1]), seq, '')
  end
  return struct.pack('>i4I4', #value - #changed + (told and #told or 0), q + 1) .. string.sub(fixed, 1, 20) .. last
end

