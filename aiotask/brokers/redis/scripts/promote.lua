-- KEYS: prefix.  ARGV: limit. Puts due jobs into their lanes and lines, and wakes what a rate held.
-- Returns how many, seconds until the next one is due, or may start ('' when there is none), whether there are graphs: 0 no, 1 yes, 2 there
-- is work on the agenda; then of jobs that have expired and that no worker has: id, time (Unix s), task, result TTL (s), number of the next run;
-- and where there are schedules: seconds until the next one is due, the server's time.
-- Needs: core index due lanes limits repair expiring
-- Pages of what is left alone that are looked through at most.
local PAGES = 40
check_placing()
local at = now()
local graphs, soon, is_held, others = 0, nil, false, {}
-- One command where nothing is due, expires or is held by a rate, and there are no graphs and no schedules.
if redis.call('EXISTS', key('due'), key('agenda'), key('graphs'), key('nodes'), key('expiring'), key('fires'), key('wake')) > 0 then
  is_held = redis.call('EXISTS', key('wake')) == 1
  if is_held or redis.call('ZCARD', key('due')) > 0 then heed(at) end
  if is_held then soon = lines().wake(at) end
  if redis.call('ZCARD', key('expiring')) > 0 then others = expired_at(at, BATCH_EXPIRED) end
  if redis.call('EXISTS', key('agenda')) == 1 then graphs = 2
  elseif redis.call('EXISTS', key('graphs'), key('nodes')) > 0 then graphs = 1 end
  local scheduled = redis.pcall('ZRANGE', key('fires'), 0, 0, 'WITHSCORES')
  if scheduled[2] then
    others[#others + 1] = tostring(tonumber(scheduled[2]) - at)
    others[#others + 1] = string.format('%.17g', at)
  end
end

-- One due job; false: it is on its way to a place of a later release, and left alone.
local function promote(id)
  local packed, ok, at_index = redis.call('HGET', key('held'), id), pcall(place_in_index, id)
  local lane, meta, sealed
  if packed then lane, meta, sealed = unpack_held(packed) end
  if ok and at_index and is_foreign(at_index) or lane and is_foreign_lane(lane) then return false end
  -- A job that waits or runs elsewhere was put here by hand.
  local elsewhere = ok and at_index and string.sub(at_index, 1, 4) ~= 'due|' and is_there(id, at_index)
  local is_lined = packed and string.match(lane, '^l:[^:]+:%d:[^:]+:.*|%d*$')
  if not packed or not is_lined and not string.match(lane, '^q:.+:[0-9rs]$') then
    redis.call('ZREM', key('due'), id)
    redis.call('HDEL', key('held'), id)
    -- Without its envelope it is lost: that was deleted by hand.
    if not elsewhere then forget(id) end
    if packed then set_aside(id, packed, 'what was due is no job') end
  elseif elsewhere then
    redis.call('ZREM', key('due'), id)
    redis.call('HDEL', key('held'), id)
    if not is_lined then redis.call('XADD', key(lane), '*', 'j', sealed, 'm', meta) end
  elseif is_lined then
    redis.call('ZREM', key('due'), id)
    redis.call('HDEL', key('held'), id)
    put_one(lane, id, sealed, meta)
  else
    lane = sound(lane, string.gsub(lane, '%w$', 'r'))
    if type(redis.pcall('XLEN', key(lane))) ~= 'table' then
      redis.call('ZREM', key('due'), id)
      redis.call('HDEL', key('held'), id)
      put_one(lane, id, sealed, meta)
    end
  end
  return true
end

local limit, count, foreign = tonumber(ARGV[1]), 0, 0
for _ = 1, PAGES do
  local ids = redis.call('ZRANGEBYSCORE', key('due'), '-inf', at, 'LIMIT', foreign, limit)
  if #ids > 0 and count + foreign == 0 then check_commands() end
  for _, id in ipairs(ids) do
    if promote(id) then count = count + 1 else foreign = foreign + 1 end
  end
  -- Behind those that are left alone others may be due.
  if count > 0 or #ids < limit then break end
end
local first
if foreign == 0 then first = redis.call('ZRANGE', key('due'), 0, 0, 'WITHSCORES')
else first = redis.call('ZRANGEBYSCORE', key('due'), string.format('(%.17g', at), '+inf', 'WITHSCORES', 'LIMIT', 0, 1) end
local until_next = first[2] and tonumber(first[2]) - at
if #first == 0 and foreign == 0 and not is_held then redis.call('DEL', key('clock')) end
if soon and (not until_next or soon < until_next) then until_next = soon end
return { count, until_next and tostring(until_next) or '', graphs, unpack(others) }
