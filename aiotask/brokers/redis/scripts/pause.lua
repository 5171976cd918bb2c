-- KEYS: prefix.  ARGV: id of the pause, the pause (msgpack; '': it is over). Tells every live incarnation to look.
-- Returns 1, or 0 where there was no such pause to end.
-- Needs: core
local done = 1
if ARGV[2] == '' then done = redis.call('HDEL', key('paused'), ARGV[1])
else redis.call('HSET', key('paused'), ARGV[1], ARGV[2]) end
redis.call('DEL', key('stats'))
local incarnations, frame = redis.call('HKEYS', key('live')), struct.pack('>BI2I4', 1, 0, 0)
for n = 1, #incarnations do
  if incarnations[n] ~= '' then redis.call('PUBLISH', key('to:' .. incarnations[n]), frame) end
end
return done
