-- For the scripts that keep or change something: note it for the webhooks of its app, in the same step. What waits
-- here in a bucket is numbered 1, 2, 3… and goes to the logs of the endpoints (hooks_log.lua), and then from here
-- (hooks_taken.lua).
--
-- `hooks:<app>` is a hash. Its field 'h' is '>I4', run, '>I6I6I6I6I6': epoch of the numbering; run of the server that
-- gave the last number; last number before this epoch; up to which number all was taken; the first that is here, the
-- last, and how many bytes are here. Each other field is a number, and its value '>BI6I4I4': what happened, 1 what the
-- event says, 2 that nobody was there to hear it; when, in ms; the number in the conversation, 0 for none; then, with
-- '>I4' before it, the users it is about, a space between each; then the event, sealed.
-- `hooked`, a sorted set of the bucket, says whose hashes have something: a member too many does no harm.
--
-- The argument of such a script is '' where no endpoint wants to know. Else '>B', epoch 4, run 4, '>I4': which of
-- the two are wanted, as a sum; the epoch of a new numbering; the server's run; most bytes; and the event, sealed.

-- The hash of the app that `member` of the due list is of. To be called before the first write: while a cluster
-- moves the slot, it fails where the keys are elsewhere.
local function hooks_of(due, member)
  local bucket, app = string.sub(due, 1, -4), string.sub(member, 1, 32)
  local key = bucket .. 'hooks:' .. app
  redis.call('ZADD', bucket .. 'hooked', 0, app)
  redis.call('HEXISTS', key, 'h')
  return key
end

local function happened(key, due, said, what, time, seq, users)
  local head = redis.call('HGET', key, 'h')
  local epoch, run, cap = string.sub(said, 2, 5), string.sub(said, 6, 9), struct.unpack('>I4', said, 10)
  local before, taken, first, last, bytes = 0, 0, 1, 0, 0
  if head then
    before, taken, first, last, bytes = struct.unpack('>I6I6I6I6I6', head, 9)
    if string.sub(head, 5, 8) == run then
      epoch = string.sub(head, 1, 4)
    else
      before = last
    end
  else
    -- The sweeper looks after it from now on.
    redis.call('ZADD', due, 'LT', time + 259200000, string.sub(key, -32) .. ':h:')
  end
  local value = struct.pack('>BI6I4I4', what, time, seq, #users) .. users .. string.sub(said, 14)
  last, bytes = last + 1, bytes + #value
  while bytes > cap and first < last do
    local field = first .. ''
    bytes, first = bytes - #(redis.call('HGET', key, field) or ''), first + 1
    redis.call('HDEL', key, field)
  end
  redis.call('HSET', key, 'h', epoch .. run .. struct.pack('>I6I6I6I6I6', before, taken, first, last, bytes),
    last .. '', value)
end

