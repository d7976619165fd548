#!lua
-- Note for the webhooks of an app what no other script keeps. After happened.lua.
--
-- KEYS  1 due list
-- ARGV  1 the app's member of the due list  2 event  3 when, in ms
happened(hooks_of(KEYS[1], ARGV[1]), KEYS[1], ARGV[2], 1, tonumber(ARGV[3]), 0, '')
