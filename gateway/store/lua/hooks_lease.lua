#!lua flags=allow-oom
-- Share the webhooks of a region among the dispatchers that are there: each takes as many shares as any other. After
-- now.lua.
--
-- KEYS  1 leases: a hash, 'd:<dispatcher>' -> until when it is there, in ms; <share> -> '<dispatcher> <until ms>'
--       2 clock
-- ARGV  1 the dispatcher  2 how long a lease lasts, ms, 0 to give all up  3 how many shares there are
-- Returns the shares that are the dispatcher's now.
local now, mine = redis_now(KEYS[2]), 'd:' .. ARGV[1]
local lasts, shares = tonumber(ARGV[2]), tonumber(ARGV[3])
if lasts > 0 then
  redis.call('HSET', KEYS[1], mine, string.format('%.0f', now + lasts))
else
  redis.call('HDEL', KEYS[1], mine)
end
local found, there, held = redis.call('HGETALL', KEYS[1]), 0, {}
for i = 1, #found, 2 do
  local name, value = found[i], found[i + 1]
  if string.sub(name, 1, 2) == 'd:' then
    if tonumber(value) > now then
      there = there + 1
    else
      redis.call('HDEL', KEYS[1], name)
    end
  else
    local holder, ends = string.match(value, '^(%S+) (%d+)$')
    held[name] = tonumber(ends) > now and holder or nil
  end
end
local most, taken = there > 0 and math.ceil(shares / there) or 0, {}
local function take(wanted)
  for share = 0, shares - 1 do
    local name = share .. ''
    if held[name] == wanted and (wanted or #taken < most) then
      if #taken < most and lasts > 0 then
        taken[#taken + 1] = share
        redis.call('HSET', KEYS[1], name, ARGV[1] .. ' ' .. string.format('%.0f', now + lasts))
        held[name] = ARGV[1]
      else
        redis.call('HDEL', KEYS[1], name)
      end
    end
  end
end
take(ARGV[1])
take(nil)
return taken
