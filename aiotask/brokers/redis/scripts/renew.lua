-- KEYS: prefix.  ARGV: host, beat, '1' when this host has renewed before.
-- Returns 1 (live), 0 (declared dead), -1 (the server has forgotten everybody).
local known = redis.call('HEXISTS', key('leases'), ARGV[1]) == 1
if not known and ARGV[3] == '1' then
  if redis.call('EXISTS', key('live')) == 0 then return -1 end
  return 0
end
redis.call('HDEL', key('leases'), ARGV[1])
redis.call('HSET', key('leases'), ARGV[1], ARGV[2])
return 1
