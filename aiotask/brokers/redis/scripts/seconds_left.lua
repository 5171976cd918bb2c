-- KEYS: prefix.  ARGV: ids…  Returns per id the seconds in which runs of the job may start ('0': none is left), or '' where the
-- job is not known to expire.
-- Needs: core expiring
local at, reply = now(), {}
for n = 1, #ARGV do
  local time = redis.pcall('ZSCORE', key('expiring'), ARGV[n])
  time = type(time) == 'string' and tonumber(time)
  reply[n] = time and string.format('%.3f', time >= HAD and 0 or math.max(0, time - at)) or ''
end
return reply
