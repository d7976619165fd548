-- What the scripts that change a message where it stands share. An entry of an inbox or a log is
-- m, record; then x and an end, where it has a time to live of its own; then e and a number, where
-- it was changed: 1 and up for edits, more than any of those for a recall.

-- Which change an entry is at; 0 where it is as it was sent.
local function change_of(fields)
  return fields[#fields - 1] == 'e' and tonumber(fields[#fields]) or 0
end

-- The fields of an entry after a change.
local function changed(fields, record, change)
  if fields[3] == 'x' then
    return {'m', record, 'x', fields[4], 'e', change}
  end
  return {'m', record, 'e', change}
end

-- The entry with a message id (16 bytes) among `most` from a time on, or nil.
local function find(stream, id, from_ms, most)
  local from, page = string.format('%.0f-0', from_ms), 50
  for _ = 1, most / page do
    local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', page)
    for _, entry in ipairs(entries) do
      if string.sub(entry[2][2], 1, 16) == id then
        return entry
      end
    end
    if #entries < page then
      return nil
    end
    from = '(' .. entries[page][1]
  end
end
