#!lua flags=allow-oom
-- A gateway says that it lives, or that it leaves, and how many connections of which apps it has;
-- it learns which others live, and how many those apps have on all of them.
--
-- KEYS  1 gateways: a sorted set, gateway -> the ms at which its lease ends
--       2 connections: a hash, <app> -> on all gateways, <gateway>:<app> -> on that one
--       3 names: a hash, gateway -> where it is, for people  4 clock
-- ARGV  1 gateway  2 how long its lease lasts, ms; 0 ends it  3 where it is
--       4 app  5 its connections here  6 app …
-- Returns the gateways that live, and for each app how many connections it has. The time is Redis'
-- own: gateways' clocks need not agree. After now.lua.
local now = redis_now(KEYS[4])

local function add(app, more)
  if redis.call('HINCRBY', KEYS[2], app, more) <= 0 then
    redis.call('HDEL', KEYS[2], app)
  end
end

if ARGV[2] ~= '0' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
end
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if ARGV[2] == '0' then
  gone[#gone + 1] = ARGV[1]
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('HDEL', KEYS[3], unpack(gone))
  local dead = {}
  for _, gateway in ipairs(gone) do dead[gateway] = true end
  local counts = redis.call('HGETALL', KEYS[2])
  for i = 1, #counts, 2 do
    local gateway, app = string.match(counts[i], '^(%x+):(.+)$')
    if gateway and dead[gateway] then
      redis.call('HDEL', KEYS[2], counts[i])
      add(app, -tonumber(counts[i + 1]))
    end
  end
end

local totals = {}
for i = 4, #ARGV, 2 do
  local app, here = ARGV[i], ARGV[1] .. ':' .. ARGV[i]
  local before, count = tonumber(redis.call('HGET', KEYS[2], here)) or 0, tonumber(ARGV[i + 1])
  if count ~= before then
    if count == 0 then
      redis.call('HDEL', KEYS[2], here)
    else
      redis.call('HSET', KEYS[2], here, ARGV[i + 1])
    end
    add(app, count - before)
  end
  totals[#totals + 1] = tonumber(redis.call('HGET', KEYS[2], app)) or 0
end
return {redis.call('ZRANGE', KEYS[1], 0, -1), totals}
