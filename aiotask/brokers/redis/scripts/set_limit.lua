-- KEYS: prefix.  ARGV: limit, numbers that hold instead of the declared ones (msgpack of a map; '': the declared ones hold again).
-- Returns 1, or 0 where there is no such limit.
-- Needs: core numbers
local name = key('limit:' .. ARGV[1])
if redis.call('HEXISTS', name, 'known') == 0 then return 0 end
allow_writes()
if ARGV[2] == '' then redis.call('HDEL', name, 'set')
else
  local set = map_in(redis.call('HGET', name, 'set'))
  for field, number in pairs(map_in(ARGV[2])) do set[field] = number end
  redis.call('HSET', name, 'set', cmsgpack.pack(set))
end
apply_numbers(ARGV[1])
return 1
