-- For the scripts of conversations, after stored.lua: the head.
--
-- Its field `h` is '>I4I4I6I4' and what seldom changes, '>I4I4I4I4I4I4I4B':
--   q, the last number; n, how many of them count as unread; time of the last message; d, up to which
--   number everyone is known to have a reference;
--   e, epoch of the numbering; z and zn, the last number, and its n, before this epoch; b and bn, the
--   last number that is kept no more, and its n; run of the server that gave the last number; birth,
--   the epoch with which this head began; 1 where the group has ended.
-- Its other fields are watermarks: `m:<user>`, '<delivered> <read>'. What a script says to others of the
-- last message, or of an earlier one, is PLACE: its number, and e, z, zn, b, bn.
local MOVING, FIXED = '>I4I4I6I4', '>I4I4I4I4I4I4I4B'

-- The head, or nil where there is none.
local function head_of(key)
  local packed = redis.call('HGET', key, 'h')
  if packed then
    local q, n, time, d = struct.unpack(MOVING, packed)
    local e, z, zn, b, bn, run, _, over = struct.unpack(FIXED, packed, 19)
    return {
      q = q, n = n, time = time, d = d, e = e, z = z, zn = zn, b = b, bn = bn, run = run,
      birth = string.sub(packed, 43, 46), over = over, fixed = string.sub(packed, 19),
    }
  end
end

local function save(key, head)
  head.fixed = struct.pack('>I4I4I4I4I4I4', head.e, head.z, head.zn, head.b, head.bn, head.run) .. head.birth
    .. struct.pack('>B', head.over)
  redis.call('HSET', key, 'h', struct.pack(MOVING, head.q, head.n, head.time, head.d) .. head.fixed)
end

