-- Shared by references.lua and references_full.lua, after stored.lua and refer.lua: tell the inboxes of
-- one bucket of a message that its conversation holds, and of what is missing below it. A repeat adds
-- nothing.
--
-- KEYS  1 due list  then for each inbox: rows, inbox, channel
-- ARGV  1 conversation's epoch  2 seq  3 stored message  4 b  5 bn  6 z  7 zn  8 inbox cap
--       9 retention ms  10 epoch for a new inbox  11 the sender's member of the due list
--       12 the conversation's name for every inbox, or '' where each has its own
--       then for each inbox: its member of the due list; and its name for the conversation or, with
--       one name for all, the user's interval: '' or '<from> <n of from> <until>'
-- Returns {dropped, keys gone}.
local function refer_all()
  local _, flags, time, n = parts(ARGV[3])
  local m = {
    e = tonumber(ARGV[1], 16), seq = tonumber(ARGV[2]), n = n, t = time,
    counts = bit.band(flags, COUNTS) ~= 0, value = ARGV[3], b = tonumber(ARGV[4]), bn = tonumber(ARGV[5]),
    z = tonumber(ARGV[6]), zn = tonumber(ARGV[7]), cap = tonumber(ARGV[8]), retention = tonumber(ARGV[9]),
    fresh = ARGV[10], due = KEYS[1],
  }
  local known, dropped, gone = {}, 0, 0
  for i = 13, #ARGV, 2 do
    local at = 3 * (i - 13) / 2 + 2
    known[i] = rows_of(KEYS[at], ARGV[12] ~= '' and ARGV[12] or ARGV[i + 1])
  end
  for i = 13, #ARGV, 2 do
    local at = 3 * (i - 13) / 2 + 2
    local name, from, from_n, upto = ARGV[12], 0, 0, 0
    if name == '' then
      name = ARGV[i + 1]
    elseif ARGV[i + 1] ~= '' then
      local a, b, c = string.match(ARGV[i + 1], '^(%d+) (%d+) (%d+)$')
      from, from_n, upto = tonumber(a), tonumber(b), tonumber(c)
    end
    local more, lost = refer(known[i], KEYS[at], KEYS[at + 1], KEYS[at + 2], name, ARGV[i],
      ARGV[i] == ARGV[11], from, from_n, upto, m)
    dropped, gone = dropped + more, gone + lost
  end
  return {dropped, gone}
end

