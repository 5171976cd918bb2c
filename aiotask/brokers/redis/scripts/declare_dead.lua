-- KEYS: prefix.  ARGV: host, lease counter ('': in any case). Compare and remove: the host and its incarnations are dead.
-- Returns 1 when it was done.
-- Needs: core
local counter = redis.call('HGET', key('leases'), ARGV[1])
-- A counter that is no number was written by another program.
if ARGV[2] ~= '' and counter ~= ARGV[2] and (not counter or string.match(counter, '^%d+$')) then return 0 end
redis.call('HDEL', key('leases'), ARGV[1])
redis.pcall('HDEL', key('reports'), ARGV[1])
local live = redis.call('HGETALL', key('live'))
for n = 1, #live, 2 do
  if live[n] ~= '' and string.match(live[n], '^(.*)%.[^.]*$') == ARGV[1] then redis.call('HDEL', key('live'), live[n]) end
end
return 1
