#!lua flags=no-writes
-- How many bytes do keys of one bucket take?
--
-- KEYS  the keys
-- Returns the bytes of each, 0 where there is none. Of a long one they are estimated, by 128 of its elements.
local sizes = {}
for i, key in ipairs(KEYS) do
  sizes[i] = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 128) or 0
end
return sizes
