-- Repairs of keys that were deleted, spoiled or filled by hand, and the checks that keep a job from being lost to such a key.
-- How jobs travel can be read without this file.
-- Needs: core nodes history results special

-- What is no job of ours is counted, and a part of it kept for people.
local function set_aside(id, sealed, reason)
  add_up('rejected', 1)
  redis.pcall('XADD', key('aside'), 'MAXLEN', '~', ASIDE, '*', 'i', string.sub(id, 1, 200), 'j', string.sub(sealed, 1, ASIDE_BYTES),
    'reason', string.sub(reason, 1, 1000))
end

-- The lane, or the one that the job comes from where something else was put in its place.
local function sound(lane, from)
  if string.byte(lane) == 108 then return lane end
  local length = redis.pcall('XLEN', key(lane))
  return type(length) == 'table' and from or lane
end

-- A job that is no longer where it was (that was deleted by hand), or that was none.
local function forget(id)
  redis.call('ZREM', key('due'), id)
  redis.call('HDEL', key('held'), id)
  leave_graph(id, 'f', '')
  ended({ id }, { marks = true, begun = true, watch = true, undo = undo_special })
end

-- Before the first write of a push, which is one that a full server refuses: whether these lanes and what is due are of
-- their types, and whether there is room and this user may write, tried on a key that never exists.
local function check_push(lanes, some_later)
  local limits = nil
  for lane, name in pairs(lanes) do
    if string.byte(lane) ~= 108 then redis.call('XLEN', name)
    else
      limits = limits or {}
      limits[string.match(lane, '^l:[^:]+:%d:([^:]+)')] = true
      redis.call('ZCARD', key(string.match(lane, '^(.*)|')))
    end
  end
  if limits then
    redis.call('HLEN', key('lined'))
    for limit in pairs(limits) do redis.call('HLEN', key('limit:' .. limit)) end
  end
  redis.call('XADD', key('r:'), 'NOMKSTREAM', '*', 'j', '')
  if not some_later then return end
  redis.call('ZCARD', key('due'))
  redis.call('HLEN', key('held'))
  redis.call('ZADD', key('r:'), 'XX', 0, ' ')
end

-- What is to be written to besides by ``put``, checked before the first write.
local function check_placing()
  redis.call('SCARD', key('index'))
  redis.call('ZCARD', key('due'))
  redis.call('HLEN', key('held'))
  redis.call('SCARD', key('queues'))
  redis.call('SCARD', key('parked'))
end

-- Every command that moves a job, on a key that never exists, before the first that cannot be taken back: where this
-- user's permissions were cut, the script ends here.
local function check_commands()
  local nothing = key('r:')
  redis.call('HDEL', key('live'), ' ')
  redis.call('SET', nothing, '', 'XX')
  redis.call('XADD', nothing, 'NOMKSTREAM', '*', 'j', '')
  redis.call('XACK', nothing, GROUP, '0-1')
  redis.call('XDEL', nothing, '0-1')
  redis.call('ZADD', nothing, 'XX', 0, ' ')
  redis.call('ZREM', nothing, ' ')
  redis.call('HSET', key('live'), ' ', '')
  redis.call('HDEL', key('live'), ' ')
end
