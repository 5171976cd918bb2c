-- KEYS: prefix.  ARGV: limit, key, seconds. No job of this limit and key is admitted for so long.
-- Needs: core limits
local name, shared = key('limit:' .. ARGV[1]), lines()
local clock = now() * 1e6
local till = clock + tonumber(ARGV[3]) * 1e6
local times = 'tat:' .. ARGV[1] .. ':' .. ARGV[2]
allow_writes()
local tat, before = shared.times_of(times)
shared.keep_times(times, clock, tat, math.max(till, before), clock)
-- So that admit.lua looks at the times of a limit without rates.
redis.call('HSET', name, 'held', string.format('%.17g', math.max(till, tonumber(redis.call('HGET', name, 'held') or 0) or 0)))
return 1
