-- KEYS: prefix.  ARGV: declarer ('': set at run time), generation, whether to remove and take over ('1' or ''), whether to change
-- also what is due ('1' or ''); per schedule: name, sealed ('': it stays as it is), moments, horizon.
-- Returns the names of schedules that were left as they are: set at run time, those that code declares; else those that change
-- their moments while a run is due.
-- Needs: core schedules
local by, generation, removes, forced = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', ARGV[4] == '1'
local mine = key('declared:' .. by)
redis.call('ZCARD', key('fires'))
if removes then
  local youngest = redis.call('HGET', mine, '')
  if youngest and tonumber(youngest) > generation then return {} end
end
local at, left, given, told = now(), {}, {}, {}

-- What this code declares is written down with its moments and the time, also where another's declaration counts: as long as it
-- goes on saying so, no other can remove the schedule.
local function note(name, moments)
  told[#told + 1], told[#told + 2] = name, struct.pack('>c8d', moments, at)
end

-- Whether this call has no say in a schedule that is there.
local function left_alone(old)
  if by == '' then return old.by ~= '' end
  -- Of one generation the first declaration stays: a process that has loaded changed files is no deploy.
  if removes then return old.generation > generation or (old.generation == generation and old.by == by) end
  return old.by ~= by
end

for n = 5, #ARGV, 4 do
  local name, moments, old = ARGV[n], ARGV[n + 2], schedule_of(ARGV[n])
  local due = redis.call('ZSCORE', key('fires'), name)
  local stays = old and due and old.moments == moments
  given[name] = true
  if by ~= '' and ARGV[n + 1] ~= '' then note(name, moments)
  elseif by ~= '' and old then note(name, old.moments) end
  if ARGV[n + 1] == '' then -- Nothing is known of it but that it is not gone.
  elseif old and left_alone(old) then
    if by == '' then left[#left + 1] = name end
  elseif old and due and not stays and not forced and old.moment > 0 and tonumber(due) <= at then left[#left + 1] = name
  else
    local s = old or { last = 0, paused = 0, runs = 0, since = at, moment = 0 }
    s.by, s.generation, s.sealed, s.moments, s.horizon = by, generation, ARGV[n + 1], moments, tonumber(ARGV[n + 3])
    if not stays then begin_anew(name, s, at) end
    write_schedule(name, s)
  end
end
if #told > 0 then
  redis.call('HSET', mine, unpack(told))
  redis.call('SADD', key('declarers'), by)
end
if by ~= '' and not removes then forget_silent(by, at) end
if removes then
  for _, name in ipairs(redis.call('HKEYS', mine)) do
    if name ~= '' and not given[name] then
      local old = schedule_of(name)
      if not old or old.by ~= by then redis.call('HDEL', mine, name)
      elseif old.generation < generation then
        local heir = declarer_beside(by, name, at)
        if heir then
          -- The next declaration of any code counts.
          old.by, old.generation = heir, 0
          write_schedule(name, old)
        else remove_schedule(name) end
        redis.call('HDEL', mine, name)
      end
    end
  end
  if #ARGV > 4 or redis.call('EXISTS', mine) == 1 then redis.call('HSET', mine, '', ARGV[2]) end
end
return left
