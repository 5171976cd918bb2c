-- KEYS: prefix.  ARGV: what to do (pause, resume or remove), name; who pauses it and why (msgpack).  Returns 1; 0: there is no
-- such schedule. One that is paused keeps its time.
-- Needs: core schedules
local what, name = ARGV[1], ARGV[2]
allow_writes()
if what == 'remove' then return remove_schedule(name) end
local s, at = schedule_of(name), now()
if not s then return 0 end
if what == 'pause' then
  if s.paused <= 0 then s.paused = at end
  redis.call('HSET', key('paused:schedules'), name, struct.pack('>d', s.paused) .. ARGV[3])
  redis.call('ZADD', key('fires'), '+inf', name)
elseif what == 'resume' and s.paused > 0 then
  s.paused = 0
  redis.call('HDEL', key('paused:schedules'), name)
  begin_anew(name, s, at)
end
write_schedule(name, s)
return 1
