-- KEYS: prefix.  ARGV: incarnation, epoch, then per job: lane, entry, target lane, delay (s), meta, need ('' or a parked
-- lane's need), reply address.
-- Returns standing, then per job 1 or 0 (not yours). A marked (cancelled) job ends here.
-- Needs: core due lanes results repair
local reply = {}
local at = now()
local noted = {}
check_placing()
check_ending()
check_commands()
-- Whoever recovers looks into the lanes of known queues.
local function note(target)
  if noted[target] then return end
  noted[target] = true
  local queue = string.match(target, '^q:(.*):%w$')
  if queue then redis.call('SADD', key('queues'), queue) end
end
for n = 3, #ARGV, 7 do
  local lane, entry, target, delay, meta, need = ARGV[n], ARGV[n + 1], ARGV[n + 2], tonumber(ARGV[n + 3]), ARGV[n + 4], ARGV[n + 5]
  local id, sealed = read(lane, entry)
  if redis.call('XACK', key(lane), GROUP, entry) == 1 then
    redis.call('XDEL', key(lane), entry)
    -- Its owner gives it back, so its function has not run.
    if id then redis.call('HDEL', key('begun'), id) end
    if id and not marked(id, sealed, meta) then
      if need ~= '' then
        redis.call('SADD', key('parked'), need)
        ensure_group('parked:' .. need)
        place('parked:' .. need, id, sealed, meta)
        tell(ARGV[n + 6], id, nil)
        tell_watchers(id, nil)
      else
        target = sound(target, lane)
        note(target)
        if delay > 0 then hold('R', at + delay, target, id, sealed, meta)
        else place(target, id, sealed, meta) end
      end
    end
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
wind_up()
table.insert(reply, 1, standing(ARGV[1], ARGV[2]))
return reply
