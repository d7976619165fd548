#!lua flags=allow-oom
-- Refer inboxes to the notice of a recall: see refer_all.lua. A full Redis does it.
