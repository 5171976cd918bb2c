-- KEYS: prefix.  ARGV: host, beat ('' in any case). Compare and remove: the host and its incarnations are dead.
-- Returns 1 when it was done.
-- Needs: core
local beat = redis.call('HGET', key('leases'), ARGV[1])
-- A beat that is no number was written by hand.
if ARGV[2] ~= '' and beat ~= ARGV[2] and (not beat or string.match(beat, '^%d+$')) then return 0 end
redis.call('HDEL', key('leases'), ARGV[1])
local live = redis.call('HGETALL', key('live'))
for n = 1, #live, 2 do
  if live[n] ~= '' and string.match(live[n], '^(.*)%.[^.]*$') == ARGV[1] then redis.call('HDEL', key('live'), live[n]) end
end
return 1
