-- KEYS: prefix.  Returns ids and pauses (msgpack), the needs of parked jobs whose pause is over, the queues into which jobs go
-- back, behind the id of their pause, and how often pauses have changed.
-- Needs: core
local resumed = {}
for _, need in ipairs(redis.call('SMEMBERS', key('parked'))) do
  local id = string.match(need, '^pause:(.*)@')
  if id and redis.call('HEXISTS', key('paused'), id) == 0 then
    local length = redis.pcall('XLEN', key('parked:' .. need))
    if type(length) == 'number' and length > 0 then resumed[#resumed + 1] = need end
  end
end
local changed = redis.pcall('HGET', key('counts'), 'pauses')
return { redis.call('HGETALL', key('paused')), resumed, redis.call('HKEYS', key('resuming')), type(changed) == 'string' and changed or '' }
