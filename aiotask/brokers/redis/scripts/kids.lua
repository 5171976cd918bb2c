-- KEYS: prefix.  ARGV: id of a job, how long its list is kept (ms), ids of jobs that it has sent ...
-- Keeps the newest of them, from the first one on for that long. Returns nothing.
-- Needs: core
local name = key('kids:' .. ARGV[1])
local count = redis.call('RPUSH', name, unpack(ARGV, 3))
if count == #ARGV - 2 then redis.call('PEXPIRE', name, ARGV[2]) end
if count > KIDS then redis.call('LTRIM', name, -KIDS, -1) end
