-- KEYS: prefix.  ARGV: incarnation, facts (msgpack, with the host), a fresh epoch, queues… Makes an incarnation live.
-- Returns the epoch.
-- Needs: core
allow_writes()
redis.call('HSETNX', key('live'), '', ARGV[3])
redis.call('HSET', key('live'), ARGV[1], ARGV[2])
-- Peers watch its host from now on, even if the keeper there dies before its first renewal.
redis.call('HSETNX', key('leases'), string.match(ARGV[1], '^(.*)%.[^.]*$'), 0)
for n = 4, #ARGV do redis.call('SADD', key('queues'), ARGV[n]) end
return redis.call('HGET', key('live'), '')
