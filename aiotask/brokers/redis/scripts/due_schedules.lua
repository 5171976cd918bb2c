-- KEYS: prefix.  ARGV: limit, how many to leave out at the beginning.
-- Returns the server's time, and per schedule that is due: name, value, time.
-- Needs: core schedules
local at = string.format('%.17g', now())
if ARGV[1] == '0' then return { at } end
return add_schedules({ at }, redis.call('ZRANGEBYSCORE', key('fires'), '-inf', at, 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[1]))
