-- KEYS: prefix.  ARGV: position of the first, limit.
-- Returns how many were looked at, and of those whose next run lies beyond their horizon: name, value, time.
-- Needs: core schedules
local at, page = now(), redis.call('ZRANGE', key('fires'), ARGV[1], ARGV[1] + ARGV[2] - 1, 'WITHSCORES')
local strays = {}
for n = 1, #page, 2 do
  local time, s = tonumber(page[n + 1]), schedule_of(page[n])
  if s and s.paused == 0 and s.horizon > 0 and time > at + s.horizon + 1 then
    strays[#strays + 1], strays[#strays + 2] = page[n], page[n + 1]
  end
end
return add_schedules({ #page / 2 }, strays)
