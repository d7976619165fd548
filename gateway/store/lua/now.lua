-- Redis' clock, in ms. TIME would tell it, too, but is a right that many users of Redis do not have;
-- a key with an end says when it ends, and how long that is from now. `key` is there for a day at a
-- time, so it is hardly ever written.
local function redis_now(key)
  local ends = redis.call('PEXPIRETIME', key)
  if ends < 0 then
    redis.call('SET', key, '', 'PX', 86400000)
    ends = redis.call('PEXPIRETIME', key)
  end
  return ends - redis.call('PTTL', key)
end
