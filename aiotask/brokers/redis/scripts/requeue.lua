-- KEYS: prefix.  ARGV: incarnation, epoch, then per job: lane, entry, target lane, delay (s), meta, need ('' or a parked
-- lane's need), reply address.
-- Returns liveness, then per job 1 or 0 (not yours). A marked (cancelled) job ends here.
-- Needs: core lanes results repair special
local reply = {}
local at = now()
local noted = {}
check_placing()
local endings = open_all_endings()
check_commands()
-- The recovery looks into the lanes of known queues.
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
    if id and not marked(endings, id, sealed, meta) then
      if need ~= '' then
        redis.call('SADD', key('parked'), need)
        ensure_group('parked:' .. need)
        put_one('parked:' .. need, id, sealed, meta)
        notify(endings, ARGV[n + 6], id, nil)
        notify_watchers(endings, id, nil)
      else
        target = sound(target, lane)
        note(target)
        put_one(target, id, sealed, meta, delay > 0 and at + delay or nil, 'R')
      end
    end
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
close_endings(endings)
table.insert(reply, 1, liveness(ARGV[1], ARGV[2]))
return reply
