-- KEYS: prefix.  ARGV: limit. Puts due jobs into their lanes.
-- Returns how many, and seconds until the next one is due ('' when there is none).
-- Needs: core index due lanes repair
check_placing()
local at = now()
if redis.call('ZCARD', key('due')) > 0 then heed(at) end
local ids = redis.call('ZRANGEBYSCORE', key('due'), '-inf', at, 'LIMIT', 0, tonumber(ARGV[1]))
if #ids > 0 then check_commands() end
for _, id in ipairs(ids) do
  local packed, ok, at_index = redis.call('HGET', key('held'), id), pcall(place_in_index, id)
  -- One that waits or runs elsewhere was put here by somebody else.
  local elsewhere = ok and at_index and string.sub(at_index, 1, 4) ~= 'due|' and is_there(id, at_index)
  local lane, meta, sealed
  if packed then lane, meta, sealed = unpack_held(packed) end
  if not packed or not string.match(lane, '^q:.+:[0-9rs]$') then
    redis.call('ZREM', key('due'), id)
    redis.call('HDEL', key('held'), id)
    -- Without its envelope it is lost: that was deleted by hand.
    if not elsewhere then forget(id) end
    if packed then set_aside(id, packed, 'what was due is no job') end
  elseif elsewhere then
    redis.call('ZREM', key('due'), id)
    redis.call('HDEL', key('held'), id)
    redis.call('XADD', key(lane), '*', 'j', sealed, 'm', meta)
  else
    lane = sound(lane, string.gsub(lane, '%w$', 'r'))
    if type(redis.pcall('XLEN', key(lane))) ~= 'table' then
      redis.call('ZREM', key('due'), id)
      redis.call('HDEL', key('held'), id)
      put_one(lane, id, sealed, meta)
    end
  end
end
local first = redis.call('ZRANGE', key('due'), 0, 0, 'WITHSCORES')
if #first == 0 then
  redis.call('DEL', key('clock'))
  return { #ids, '' }
end
return { #ids, tostring(tonumber(first[2]) - at) }
