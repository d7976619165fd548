-- For log.lua and deliver.lua: one more message in a conversation's log.

-- What `keep` needs to know. It may fail, so it comes before the dedupe mark.
local function log_state(log, meta)
  redis.call('XLEN', log) -- fails where it is no stream
  return redis.call('HMGET', meta, 'q', 't')
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
  if not state[1] then -- the sweeper looks at it again for as long as it is there
    redis.call('ZADD', due, 'LT', ms + retention, member)
  end
end

