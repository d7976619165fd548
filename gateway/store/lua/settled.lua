#!lua flags=allow-oom
-- Everyone has a reference to all messages of some conversations of one bucket, up to a number. After
-- stored.lua and head.lua.
--
-- KEYS  1 due list  then for each conversation: head, its group's state or again the head
-- ARGV  1 when somebody should look after what is not settled, ms  2 retention ms
--       3 how long it is remembered that a group has ended, ms
--       then for each conversation: its member of the due list, the number, its time in ms, the epoch (4 bytes),
--       and '' or the version of the member list that the references went by
local look_after, retention = ARGV[1], tonumber(ARGV[2])
for i = 4, #ARGV, 5 do
  local at = 2 * (i - 4) / 5 + 2
  local head, seq = head_of(KEYS[at]), tonumber(ARGV[i + 1])
  -- In another epoch the number may be another message's, which nobody has a reference to yet.
  local same = head and (seq <= head.z or string.sub(head.fixed, 1, 4) == ARGV[i + 3])
  if same and seq <= head.q and seq > head.d then
    head.d = seq
    save(KEYS[at], head)
    if seq == head.q then
      -- Due with its oldest message, or a conversation that goes on would never be swept.
      local oldest = redis.call('HGET', chunk_of(KEYS[at], head.birth, head.b + 1), head.b + 1 .. '')
      redis.call('ZADD', KEYS[1], (oldest and struct.unpack('>I6', oldest, 3) or tonumber(ARGV[i + 2])) + retention,
        ARGV[i])
    else
      redis.call('ZADD', KEYS[1], look_after, ARGV[i])
    end
    if ARGV[i + 4] ~= '' and redis.call('HGET', KEYS[at + 1], 'v') == ARGV[i + 4] then
      local state = redis.call('HGETALL', KEYS[at + 1])
      for j = 1, #state, 2 do
        if string.sub(state[j], 1, 2) == 'x:' then
          local upto = tonumber(string.match(state[j + 1], '(%d+) %d+$'))
          if upto <= seq then
            redis.call('HDEL', KEYS[at + 1], state[j])
          end
        end
      end
      if head.over == 1 and seq == head.q then
        redis.call('PEXPIRE', KEYS[at + 1], ARGV[3], 'NX')
      end
    end
  end
end
return 1
