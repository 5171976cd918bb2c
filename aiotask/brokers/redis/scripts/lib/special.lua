-- What few jobs have besides their lane and their outcome: the ends of such jobs undo it. ``finish.lua``, through which plain jobs
-- end, does without this part.
-- Needs: core results limits

local function undo_special(ids)
  redis.call('ZREM', key('expiring'), unpack(ids))
  redis.call('HDEL', key('progress'), unpack(ids))
  redis.call('HDEL', key('follow'), unpack(ids))
  if redis.call('EXISTS', key('admitted')) == 1 then lines().let_go(ids) end
end

-- As ``open_endings``, where the jobs that end may be special. One command where no job of the app is.
local function open_all_endings()
  local endings = open_endings()
  if redis.call('EXISTS', key('expiring'), key('progress'), key('follow'), key('admitted')) > 0 then
    redis.call('ZCARD', key('expiring'))
    for _, name in ipairs({ 'progress', 'follow', 'admitted' }) do redis.call('HLEN', key(name)) end
    endings.undo = undo_special
  end
  return endings
end
