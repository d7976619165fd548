#!lua
-- Edit a message: see conversation_replace.lua. A full Redis refuses it.
return replace(true)
