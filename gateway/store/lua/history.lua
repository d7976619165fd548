#!lua flags=no-writes
-- A page of a conversation's log, as one of its users may see it.
--
-- KEYS  1 log  2 meta
-- ARGV  1 now ms  2 retention ms  3 user  4 'before' or 'after'
--       5 the place that the page is before or after: '<ms>-<seq>', or '' for all  6 most entries
-- Returns the entries in reading order: newest first for 'before', oldest first for 'after'. Or -1
-- where one of the two keys is gone: the entries, or what says who had deleted which of them.
local function earlier(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then
    return tonumber(a_ms) < tonumber(b_ms)
  end
  return tonumber(a_seq) < tonumber(b_seq)
end

-- Above all that is past its time, all that this user deleted, and what of that is not known any more.
local floor = string.format('%.0f-%.0f', tonumber(ARGV[1]) - tonumber(ARGV[2]), 2 ^ 53)
local known = redis.call('HMGET', KEYS[2], 'q', 'w:' .. ARGV[3], 'l')
if (redis.call('EXISTS', KEYS[1]) == 1) ~= (known[1] and true or false) then
  return -1
end
for _, mark in ipairs({known[2] or floor, known[3] or floor}) do
  if earlier(floor, mark) then
    floor = mark
  end
end
if ARGV[4] == 'after' then
  if ARGV[5] ~= '' and earlier(floor, ARGV[5]) then
    floor = ARGV[5]
  end
  return redis.call('XRANGE', KEYS[1], '(' .. floor, '+', 'COUNT', ARGV[6])
end
local from = '+'
if ARGV[5] == '0-0' then
  return {}
elseif ARGV[5] ~= '' then
  from = '(' .. ARGV[5]
end
return redis.call('XREVRANGE', KEYS[1], from, '(' .. floor, 'COUNT', ARGV[6])
