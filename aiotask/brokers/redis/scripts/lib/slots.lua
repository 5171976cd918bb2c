-- Slots of limits that were left over, since ``admitted`` was deleted by hand.
-- Needs: core

-- Slots of jobs that are not admitted are free. Returns how many there were among some.
local function free_strays(name)
  local some = redis.call('SRANDMEMBER', key(name), 100)
  local held = #some > 0 and redis.call('HMGET', key('admitted'), unpack(some)) or {}
  local freed = 0
  for n = 1, #some do
    if not held[n] then freed = freed + redis.call('SREM', key(name), some[n]) end
  end
  return freed
end
