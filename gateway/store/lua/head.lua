-- For the scripts of conversations, after stored.lua: the head.
--
-- Its field `h` is HEAD: epoch of the numbering; incarnation of the server that gave the last number;
-- birth, see chunk_of; q, the last number; n, how many of them count as unread; d, up to which number
-- everyone is known to have a reference; z and zn, the last number, and its n, before the present
-- epoch; b and bn, the last number that is kept no more, and its n; time of the last message; 1 where
-- the group has ended. Its other fields are watermarks: `m:<user>`, '<delivered> <read>'.
local HEAD = '>I4I4I4I4I4I4I4I4I4I4I6B'

-- The head, or nil where there is none.
local function head_of(key)
  local packed = redis.call('HGET', key, 'h')
  if packed then
    local e, run, birth, q, n, d, z, zn, b, bn, time, over = struct.unpack(HEAD, packed)
    return {
      e = e, run = run, birth = birth, q = q, n = n, d = d, z = z, zn = zn, b = b, bn = bn, time = time,
      over = over,
    }
  end
end

local function save(key, head)
  redis.call('HSET', key, 'h', struct.pack(HEAD, head.e, head.run, head.birth, head.q, head.n, head.d,
    head.z, head.zn, head.b, head.bn, head.time, head.over))
end

