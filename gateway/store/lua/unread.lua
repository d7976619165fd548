-- What is unread, by conversation.
--
-- KEYS  1 talks  2 unread
-- ARGV  1 most conversations told  2 most conversations looked at
-- Returns {1 where there are more, {conversation, count, conversation, count, ...}}. Where there
-- are more, those with the newest messages are told.
local most = tonumber(ARGV[1])
local total = redis.call('HLEN', KEYS[2])
if total <= most then
  return {0, redis.call('HGETALL', KEYS[2])}
end
local rows, page = {}, 500
for first = 0, tonumber(ARGV[2]) - 1, page do
  local talks = redis.call('ZREVRANGE', KEYS[1], first, first + page - 1)
  if #talks == 0 then
    break
  end
  local counts = redis.call('HMGET', KEYS[2], unpack(talks))
  for i, talk in ipairs(talks) do
    if counts[i] then
      rows[#rows + 1], rows[#rows + 2] = talk, counts[i]
      if #rows == 2 * most then
        return {1, rows}
      end
    end
  end
end
return {1, rows}
