-- For the scripts of inboxes: the layout of what a user has.
--
-- An inbox is a list of references, REF and the name of the conversation as its user calls it: number in
-- the conversation, time in ms, bytes of the stored message (0: not known). With HOLE bytes it is no
-- message: what the user knows of the conversation above that number counts no more, and what is between
-- that number and the next reference is to be read in the history. One without a name is SPENT: a full
-- inbox dropped it (shed.lua), and only its number and the message's time are left.
--
-- Beside it lies a hash, the rows. Its field '#' is TOP: epoch of the inbox, its last number, and how many
-- references were taken from its head, and one byte more once its user has connected; '#t' is when it was used
-- last, as the sweeper found; '#d', '#f' and '#m' are those of shed.lua. For each
-- conversation, by its name, there is a row, ROW:
--   epoch of the conversation; top, its n and time: the last number that is referred to;
--   base: the n from which unread is counted; time of the first unread, or 0;
--   read: the watermark; floor: the user deleted everything up to it;
--   since, until: between these numbers the user is in it, 0: there is no end
--   own: how many of the messages whose n is above base the user wrote
-- and, where it is not known who wrote some, '>I4I4I4': what is above low and up to high is not known; after:
-- how many above high the user wrote. Then own is of those up to low. All of them are above base.
local TOP, ROW, REF, HOLE = '>I4I6I6', '>I4I4I4I6I4I6I4I4I4I4I4', '>I4I6I3', 16777215
local MET = '\1'

-- References went from the head of a list: so many of them were spent.
local function less_spent(rows, refs)
  local spent = 0
  for _, ref in ipairs(refs) do
    if #ref == 13 then
      spent = spent + 1
    end
  end
  local known = spent > 0 and redis.call('HGET', rows, '#d')
  if known then
    redis.call('HSET', rows, '#d', string.format('%.0f', math.max(known - spent, 0)))
  end
end


