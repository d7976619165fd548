#!lua
-- Send a message of a conversation: see number.lua and refer.lua. A full Redis refuses it.
return struct.pack('>BI2I2I4I4BI6', first and 0 or 1, dropped, gone, away, strange, strangers, now) .. place
  .. (first and value or string.sub(value, 1, 22))
