-- What few jobs have besides their lane and their outcome: the ends of such jobs undo it. ``finish.lua``, through which plain jobs
-- end, does without this part.
-- Needs: core results limits

local function undo_special(ids)
  redis.call('ZREM', key('expiring'), unpack(ids))
  lines().let_go(ids)
end

-- As ``open_endings``, where the jobs that end may be special. One command where no job of the app is.
local function open_all_endings()
  local endings = open_endings()
  if redis.call('EXISTS', key('expiring'), key('admitted')) > 0 then
    redis.call('ZCARD', key('expiring'))
    redis.call('HLEN', key('admitted'))
    endings.undo = undo_special
  end
  return endings
end
