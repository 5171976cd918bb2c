-- KEYS: prefix.  ARGV: id of a pause, '1' where another call has begun ('' otherwise), how many jobs at most.
-- Ends a pause. Limited jobs that it has parked go back to their places in their lines first, and until all are there, nothing
-- is admitted in their queues: a job that is sent meanwhile does not overtake them. Returns whether the pause stood, and whether
-- it still does: the caller, or any worker, calls again. Tells every live incarnation of the end.
-- Needs: core index lanes limits parking repair
local pause, left = ARGV[1], tonumber(ARGV[3])
local marks, mine = {}, string.gsub(pause, '%p', '%%%0')
for _, mark in ipairs(redis.call('HKEYS', key('resuming'))) do
  if string.match(mark, '^' .. mine .. '@[^@]*$') then marks[#marks + 1] = mark end
end
local function unmark()
  if #marks == 0 then return end
  redis.call('HDEL', key('resuming'), unpack(marks))
  for _, mark in ipairs(marks) do lines().ring_bell(string.match(mark, '@([^@]*)$')) end
end
if redis.call('HEXISTS', key('paused'), pause) == 0 then
  unmark()
  return { 0, 0 }
end
if ARGV[2] == '1' and #marks == 0 then return { 1, 0 } end
check_placing()
allow_writes()

local function move(lane, entries)
  local groups, jobs = {}, {}
  for _, entry in ipairs(entries) do
    local sealed, meta = fields_of(entry)
    local id = id_of(sealed)
    local here, line, at = lane .. '|' .. entry[1], nil, nil
    if id ~= '' then
      at, line = place_in_index(id), line_of_parked(lane, entry[1]) or line_in(sealed)
    end
    redis.call('XACK', key(lane), GROUP, entry[1])
    redis.call('XDEL', key(lane), entry[1])
    if not line then set_aside(id, sealed, 'what was parked is no job')
    elseif not at or at == here or not is_there(id, at) then
      local n = #jobs
      jobs[n + 1], jobs[n + 2] = id, sealed
      groups[#groups + 1] = { line, n + 1, n + 1, meta }
    end
  end
  if #jobs > 0 then put(groups, jobs) end
end

for _, need in ipairs(redis.call('SMEMBERS', key('parked'))) do
  local other, queue = string.match(need, '^pause:(.*)@([^:]*)' .. LINED .. '$')
  if other == pause then
    local lane = 'parked:' .. need
    if redis.call('HSET', key('resuming'), pause .. '@' .. queue, string.format('%.0f', now())) == 1 then
      marks[#marks + 1] = pause .. '@' .. queue
    end
    while left > 0 do
      local entries = redis.call('XRANGE', key(lane), '-', '+', 'COUNT', math.min(left, 50))
      if #entries == 0 then break end
      move(lane, entries)
      left = left - #entries
    end
    if left <= 0 then return { 1, 1 } end
  end
end
redis.call('HDEL', key('paused'), pause)
unmark()
tell_of_pauses()
return { 1, 0 }
