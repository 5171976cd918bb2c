-- KEYS: prefix.  ARGV: incarnation, epoch, then per job: lane, entry, target (a lane, or a line), delay (s), meta, need ('' or a
-- parked lane's need), reply address, and the envelope if it was sealed anew ('').
-- Returns liveness, then per job 1 or 0 (not yours). A marked (cancelled) job ends here. An admitted one goes back to its place in
-- its line: its slot becomes free when it stands there, and its token if it was not started.
-- Needs: core history lanes limits results repair special
local reply = {}
local at = now()
local noted, retried, returned = {}, 0, 0
check_placing()
local endings = open_all_endings()
check_commands()
-- The recovery looks into the lanes of known queues.
local function note(target)
  if noted[target] then return end
  noted[target] = true
  local queue = string.match(target, '^q:(.*):%w$') or string.match(target, '^l:([^:]+)')
  if queue then redis.call('SADD', key('queues'), queue) end
end
-- Attempt, and what follows it, which a worker leaves as it is.
local function head_of(meta) return meta == '' and string.char(1, 0, 0xa0) or string.sub(meta, 2, 4) end
for n = 3, #ARGV, 8 do
  local lane, entry, target, delay, meta, need = ARGV[n], ARGV[n + 1], ARGV[n + 2], tonumber(ARGV[n + 3]), ARGV[n + 4], ARGV[n + 5]
  local id, sealed, old_meta = read(lane, entry)
  if redis.call('XACK', key(lane), GROUP, entry) == 1 then
    redis.call('XDEL', key(lane), entry)
    -- Its owner gives it back, so its function has not run.
    if id then redis.call('HDEL', key('begun'), id) end
    if id and not marked(endings, id, sealed, meta) then
      local has_run = head_of(old_meta) ~= head_of(meta)
      if has_run then retried = retried + 1 elseif need == '' then returned = returned + 1 end
      if ARGV[n + 7] ~= '' then sealed = ARGV[n + 7] end
      local place = endings.undo and redis.call('HGET', key('admitted'), id)
      if need ~= '' then
        redis.call('SADD', key('parked'), need)
        ensure_group('parked:' .. need)
        put_one('parked:' .. need, id, sealed, meta)
        notify(endings, ARGV[n + 6], id, nil)
        notify_watchers(endings, id, nil)
      elseif place and delay <= 0 and string.find(target, '^q:.+:s$') then
        -- A suspect that did not run stays one, and stays admitted.
        put_one(sound(target, lane), id, sealed, meta)
        place = nil
      else
        target = place or sound(target, lane)
        note(target)
        put_one(target, id, sealed, meta, delay > 0 and at + delay or nil, 'R')
      end
      if place then lines().let_go({ id }, old_meta == meta and string.find(lane, '^q:.+:g$') ~= nil) end
    end
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
if retried > 0 then add_up('retried', retried) end
if returned > 0 then add_up('returned', returned) end
close_endings(endings)
table.insert(reply, 1, liveness(ARGV[1], ARGV[2]))
return reply
