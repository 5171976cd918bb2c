-- KEYS: prefix.  ARGV: limit, name of the schedule before the first ('': from the beginning).
-- Returns per schedule: name, value, time.
-- Needs: core schedules
local rank = ARGV[2] ~= '' and redis.call('ZRANK', key('fires'), ARGV[2])
local first = rank and rank + 1 or 0
return add_schedules({}, redis.call('ZRANGE', key('fires'), first, first + ARGV[1] - 1, 'WITHSCORES'))
