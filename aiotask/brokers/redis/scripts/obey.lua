-- KEYS: prefix.  ARGV: incarnation, how often pauses had changed when it was told of those that it obeys now.
-- Needs: core
redis.call('HSET', key('obeyed'), ARGV[1], ARGV[2])
redis.call('PEXPIRE', key('obeyed'), 60000)
