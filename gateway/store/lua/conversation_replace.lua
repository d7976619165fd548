-- Shared by conversation_edit.lua and conversation_recall.lua, after stored.lua and head.lua: put another
-- record in the place of a message, and add the notice of it, in one step.
--
-- KEYS  1 head  2 due list  3 ttl list
-- ARGV  1 now ms  2 epoch for what is new here  3 incarnation of the server  4 member of the due list
--       5 when somebody else should look after the notice, ms  6 number of the message
--       7 the change that is expected there now  8 the number of this change  9 record
--       10 flags of the notice  11 record of the notice, or '' for none
-- Returns {1, seq, n, epoch, z, zn, b, bn, time, stored notice}; {2, …} where this change is there already:
-- then with the last message in place of the notice, so that what is owed can be told; {0} where another
-- change is there, or nothing.
local function replace()
  local head = head_of(KEYS[1], ARGV[2], ARGV[3])
  local chunk, seq = chunk_of(KEYS[1], head.a, tonumber(ARGV[6])), ARGV[6]
  local value = not head.new and tonumber(seq) <= head.q and tonumber(seq) > head.b
    and redis.call('HGET', chunk, seq)
  if not value then
    return {0}
  end
  local change, flags, time, n, ends = parts(value)
  if bit.band(flags, OVER) ~= 0 then
    return {0}
  end
  local reply, last = 1, nil
  if change == tonumber(ARGV[8]) then
    reply, last = 2, redis.call('HGET', chunk_of(KEYS[1], head.a, head.q), whole(head.q))
  elseif change ~= tonumber(ARGV[7]) then
    return {0}
  else
    if ARGV[11] ~= '' then
      local failed = append(head, tonumber(ARGV[10]), tonumber(ARGV[1]), nil, ARGV[11], KEYS[2], ARGV[4],
        ARGV[5])
      if failed then
        return failed
      end
      last = head.value
    end
    redis.call('HSET', chunk, seq, spelled(tonumber(ARGV[8]), flags, time, n, ends, ARGV[9]))
  end
  return {reply, head.q, head.n, head.e, head.z, head.zn, head.b, head.bn, time, last or ''}
end

