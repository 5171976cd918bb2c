-- KEYS: prefix.  ARGV: ids…  Removes dead letters. Returns per id 1, or 0 where there was none.
-- Needs: core
local reply = {}
for _, id in ipairs(ARGV) do
  redis.call('ZREM', key('dead'), id)
  reply[#reply + 1] = redis.call('HDEL', key('dead:jobs'), id)
end
return reply
