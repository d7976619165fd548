-- For refer.lua, before it. It uses no local of the script (mended.lua says why). Layouts are in row.lua.

-- Keep a full inbox at its cap. What one conversation has too much of goes before anything of the others, so
-- that a flood drops its own: the numbers stay, and in the middle of the list a reference becomes SPENT
-- (row.lua), 13 bytes for a message whose conversation keeps some hundreds.
-- `name` is the conversation that grew, now with its number `seq` as number `number` of the inbox, and
-- `length` that of the list. Since the inbox was half full the field '#m<name>' has '>I6I4', from which
-- number of the inbox on, and from which of the conversation on, there are references to it; '#d' is how
-- many references of the list are spent, '#f' the last conversation that had too much.
-- Returns how many messages were dropped, and how many references went from the head.
local function shed(rows, inbox, name, seq, number, trimmed, length, cap)
  local known = redis.call('HMGET', rows, '#m' .. name, '#d', '#f')
  local at, first, spent_before = 0, 0, tonumber(known[2]) or 0
  if known[1] then
    at, first = struct.unpack('>I6I4', known[1])
  end
  if at <= trimmed or at > number then
    at, first = number, seq
    redis.call('HSET', rows, '#m' .. name, struct.pack('>I6I4', at, first))
  end
  local spent = spent_before
  local over, dropped, taken = length - spent - cap, 0, 0
  if over <= 0 then
    return 0, 0
  end
  local from, last = name, seq
  if (seq - first) * 10 > cap then
    if known[3] ~= name then
      redis.call('HSET', rows, '#f', name)
    end
  elseif known[3] then
    local other = redis.call('HMGET', rows, '#m' .. known[3], known[3])
    if other[1] and other[2] then
      local its_at, its_first = struct.unpack('>I6I4', other[1])
      local its_last = struct.unpack('>I4', other[2], 5)
      if its_at > trimmed and its_at <= number and (its_last - its_first) * 10 > cap then
        from, at, first, last = known[3], its_at, its_first, its_last
      end
    end
  end
  while over > 0 do
    local whose, found = string.sub(redis.call('LINDEX', inbox, 0), 14), nil
    if whose ~= from and whose ~= '' and (last - first) * 10 > cap then
      for _ = 1, 8 do
        local refs = redis.call('LRANGE', inbox, at - trimmed - taken - 1, at - trimmed - taken + 14)
        for i, ref in ipairs(refs) do
          if string.sub(ref, 14) == from and string.sub(ref, 11, 13) ~= '\255\255\255' then
            found, first = at + i - 1, struct.unpack('>I4', ref) + 1
            redis.call('LSET', inbox, found - trimmed - taken - 1, string.sub(ref, 1, 10) .. '\0\0\0')
            break
          end
        end
        at = found and found + 1 or at + #refs
        if found or #refs == 0 then
          break
        end
      end
    end
    if found then
      spent, dropped, over = spent + 1, dropped + 1, over - 1
    else
      redis.call('LPOP', inbox)
      taken = taken + 1
      if whose == '' then
        spent = math.max(spent - 1, 0)
      else
        dropped, over = dropped + 1, over - 1
      end
    end
  end
  redis.call('HSET', rows, '#m' .. from, struct.pack('>I6I4', at, first))
  if spent ~= spent_before then
    redis.call('HSET', rows, '#d', string.format('%.0f', spent))
  end
  return dropped, taken
end

