#!lua
-- As replace.lua, for one stream that is too long to be written anew at once: copy it in slices, one
-- a call, and let the copy take its place.
--
-- KEYS  1 stream  2 hash beside it  3 copy
-- ARGV  1 the writing ('g' of the hash) that the copy is of  2 message id, 16 bytes  3 record
--       4 number of the change  5 the number that is expected there, or '' for any that is lower
--       6 entries in a slice  7 how long a copy that nobody goes on with is kept, ms
-- Returns {1} done, or nothing to do; {0} not the expected number; {2} call again; {3, writing} the
-- stream was written anew meanwhile: begin with that one.
local writing = redis.call('HGET', KEYS[2], 'g') or '0'
if writing ~= ARGV[1] then
  redis.call('UNLINK', KEYS[3]) -- it holds what was taken out of the stream
  return {3, writing}
end
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local entries = redis.call('XRANGE', KEYS[1], last and '(' .. last[1] or '-', '+', 'COUNT', ARGV[6])
for _, entry in ipairs(entries) do
  local fields = entry[2]
  if string.sub(fields[2], 1, 16) == ARGV[2] then
    local there = change_of(fields)
    local unexpected = ARGV[5] ~= '' and there ~= tonumber(ARGV[5])
    if unexpected or there >= tonumber(ARGV[4]) then
      redis.call('UNLINK', KEYS[3])
      return {unexpected and 0 or 1}
    end
    fields = changed(fields, ARGV[3], ARGV[4])
  end
  redis.call('XADD', KEYS[3], entry[1], unpack(fields))
end
if #entries == tonumber(ARGV[6]) then
  redis.call('PEXPIRE', KEYS[3], ARGV[7])
  return {2}
end
-- Its head may have been trimmed meanwhile; a hole in its middle is a reason to begin anew.
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first then
  redis.call('UNLINK', KEYS[3])
  return {1}
end
redis.call('XTRIM', KEYS[3], 'MINID', '=', first[1])
if redis.call('XLEN', KEYS[3]) ~= redis.call('XLEN', KEYS[1]) then
  redis.call('UNLINK', KEYS[3])
  return {3, writing}
end
redis.call('UNLINK', KEYS[1])
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('PERSIST', KEYS[1])
redis.call('HINCRBY', KEYS[2], 'g', 1)
return {1}
