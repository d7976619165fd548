#!lua flags=allow-oom
-- Recall a message: see conversation_replace.lua. It works on a full Redis, which it frees bytes of.
return replace(false)
