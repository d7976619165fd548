#!lua flags=allow-oom
-- Refer inboxes to the notice of a recall: see refer_all.lua and refer.lua. A full Redis does it.
if dropped + gone + away + strangers > 0 then
  return {dropped, gone, away, strange, strangers}
end
return 0
