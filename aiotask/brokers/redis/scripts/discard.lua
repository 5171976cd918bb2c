-- KEYS: prefix.  ARGV: ids…  Removes dead letters. Returns per id: replayed (it is gone), or missing.
-- Needs: core
local reply = {}
for _, id in ipairs(ARGV) do
  redis.call('ZREM', key('dead'), id)
  redis.pcall('HDEL', key('dead:facts'), id)
  reply[#reply + 1] = redis.call('HDEL', key('dead:jobs'), id) == 1 and 'replayed' or 'missing'
end
redis.call('DEL', key('stats'))
return reply
