-- KEYS: prefix.  ARGV: limit. Puts due jobs into their lanes.
-- Returns how many, and seconds until the next one is due ('' when there is none).
local at = now()
local ids = redis.call('ZRANGEBYSCORE', key('due'), '-inf', at, 'LIMIT', 0, tonumber(ARGV[1]))
for _, id in ipairs(ids) do
  redis.call('ZREM', key('due'), id)
  local packed = redis.call('HGET', key('held'), id)
  if packed then
    redis.call('HDEL', key('held'), id)
    local lane, meta, sealed = unpack_held(packed)
    place(lane, id, sealed, meta)
  end
end
local first = redis.call('ZRANGE', key('due'), 0, 0, 'WITHSCORES')
if #first == 0 then return { #ids, '' } end
return { #ids, tostring(tonumber(first[2]) - at) }
