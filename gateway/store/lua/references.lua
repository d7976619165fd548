#!lua
-- Refer inboxes to a message that was sent: see refer_all.lua. A full Redis refuses it.
