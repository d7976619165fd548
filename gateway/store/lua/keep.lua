-- For log.lua and deliver.lua, after half.lua: one more message in a conversation's log.

-- What `keep` needs to know. It may fail, so it comes before the dedupe mark. Its `half` is the last
-- entry of a log whose hash is gone.
local function log_state(log, meta)
  redis.call('XLEN', log) -- fails where it is no stream
  local state = redis.call('HMGET', meta, 'q', 't')
  if not state[1] then
    local seq, ms = half(log)
    if seq then
      state = {seq, ms, half = string.format('%.0f-%.0f', ms, seq)}
    end
  end
  return state
end

-- `member` is the log's in the due list; `expires` when the message's own time to live ends, or ''.
local function keep(state, log, meta, due, ttl, member, now, retention, record, expires)
  local seq, ms = (tonumber(state[1]) or 0) + 1, math.max(tonumber(state[2]) or 0, now)
  local seq_text, ms_text = string.format('%.0f', seq), string.format('%.0f', ms)
  local id = ms_text .. '-' .. seq_text
  if expires == '' then
    redis.call('XADD', log, id, 'm', record)
  else
    redis.call('XADD', log, id, 'm', record, 'x', expires)
    redis.call('ZADD', ttl, expires, member .. ' ' .. id)
  end
  redis.call('HSET', meta, 'q', seq_text, 't', ms_text)
  if state.half then
    -- Who of the two had deleted what, the hash knew: what came before is shown to nobody.
    redis.call('HSET', meta, 'l', state.half)
  end
  if not state[1] or state.half then -- the sweeper looks at it again for as long as it is there
    redis.call('ZADD', due, 'LT', ms + retention, member)
  end
end

