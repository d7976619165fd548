#!lua
-- Refer inboxes to a message that was sent: see refer_all.lua and refer.lua. A full Redis refuses it.
if dropped + gone + away + strangers > 0 then
  return {dropped, gone, away, strange, strangers}
end
return 0
