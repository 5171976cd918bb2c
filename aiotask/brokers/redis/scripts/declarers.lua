-- KEYS: prefix.
-- Returns, per schedule and code that declares it at present: declarer, name, moments.
-- Needs: core schedules
local at, reply = now(), {}
for _, by in ipairs(redis.call('SMEMBERS', key('declarers'))) do
  local kept = redis.call('HGETALL', key('declared:' .. by))
  for n = 1, #kept, 2 do
    local moments = moments_declared(kept[n + 1], at)
    if moments and kept[n] ~= '' then
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = by, kept[n], moments
    end
  end
end
return reply
