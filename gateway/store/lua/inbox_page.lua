#!lua flags=no-writes
-- References that wait in an inbox. After row.lua and waiting.lua.
--
-- KEYS  1 inbox  2 rows
-- ARGV  1 after this number  2 most references  3 most bytes of what they refer to, but for the first
-- Returns {epoch or -1, top, the number before the first reference that is here, the references}.
local epoch, top, base = numbering(KEYS[2], KEYS[1])
local start = math.max(tonumber(ARGV[1]), base)
return {epoch or -1, top, start, refs_after(KEYS[1], base, start, tonumber(ARGV[2]), tonumber(ARGV[3]))}
