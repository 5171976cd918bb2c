-- KEYS: prefix.  Puts right what was deleted by hand of limits: from the envelopes in ``lined`` the lines, rings and ``open``, from
-- ``admitted`` the slots, from the envelopes of admitted jobs ``admitted``; and lets what a rate holds go on that waits for a time
-- far away, since the clock was set back. Looks at a few jobs, and at many where something was wrong. Returns how many jobs were
-- missing in ``admitted``, and how many slots of such jobs were found (free_slots.lua looks at all).
-- Needs: core index lanes limits slots
local FEW, MANY = 20, 500
local shared, mended, unrecorded, strays, at = lines(), 0, 0, 0, now()
allow_writes()

local function free_some(name)
  local freed = free_strays(name)
  strays, mended = strays + freed, mended + freed
end

local function has_room(name, most)
  if most <= 0 then return true end
  free_some(name)
  return redis.call('SCARD', key(name)) < most
end

-- What comes later stands behind the jobs of the line.
local function mend_numbers(line, number)
  local _, _, limit = shared.parts_of(line)
  local name = key('limit:' .. limit)
  if tonumber(number) <= (tonumber(redis.call('HGET', name, 'seq') or 0) or 0) then return end
  local last = redis.call('ZREVRANGE', key(line), 0, 0, 'WITHSCORES')
  redis.call('HSET', name, 'seq', string.format('%.0f', math.max(tonumber(number), tonumber(last[2] or 0))))
  mended = mended + 1
end

-- A key that may go on has its turn, and a limit that may is open, unless a rate holds it.
local function mend_turn(line)
  local queue, priority, limit, by = shared.parts_of(line)
  local at = queue .. ':' .. priority
  local known = redis.call('HMGET', key('limit:' .. limit), 'known', 'max', 'each')
  mended = mended + redis.call('SADD', key('limits'), limit) + redis.call('SADD', key('places:' .. limit), at)
  if not redis.call('ZSCORE', key('ring:' .. at .. ':' .. limit), by) then
    if redis.call('ZSCORE', key('wake'), line) then return end
    if not has_room('slots:' .. limit .. ':' .. by, tonumber(known[3] or 0) or 0) then return end
    shared.reopen(limit, by)
    mended = mended + 1
  elseif known[1] and not redis.call('ZSCORE', key('open:' .. at), limit) or redis.call('SISMEMBER', key('open'), at) == 0 then
    if redis.call('ZSCORE', key('wake'), 'l:' .. at .. ':' .. limit .. ':') then return end
    if not known[1] or not has_room('slots:' .. limit, tonumber(known[2] or 0) or 0) then return end
    shared.reopen(limit, nil)
    mended = mended + 1
  end
end

local function mend_lined(id)
  local at = place_in_index(id)
  local line, number
  if at then line, number = place_of(at) end
  if line and string.byte(line) == 108 then
    if not redis.call('ZSCORE', key(line), id) then mended = mended + redis.call('ZADD', key(line), number, id) end
    mend_numbers(line, number)
    return mend_turn(line)
  end
  if at and is_foreign(at) then return end
  local packed = redis.call('HGET', key('lined'), id)
  redis.call('HDEL', key('lined'), id)
  mended = mended + 1
  if at or not packed or #packed < 2 then return end
  local size = struct.unpack('>I2', packed)
  local sealed = string.sub(packed, 3 + size)
  local target = line_in(sealed)
  if not target then return end
  local queue, _, limit = shared.parts_of(target)
  shared.count_off(queue, { [limit] = 1 })
  put_one(target, id, sealed, string.sub(packed, 3, 2 + size))
end

-- An admitted job that is no more gives its slot back; one that goes on has its slots.
local function mend_admitted(id, place)
  local _, _, limit, by = shared.parts_of(string.match(place, '^(.*)|') or '')
  if not limit then return redis.call('HDEL', key('admitted'), id) end
  if not place_in_index(id) then
    mended = mended + 1
    return shared.let_go({ id })
  end
  local known = redis.call('HMGET', key('limit:' .. limit), 'max', 'each')
  local max, each = tonumber(known[1] or 0) or 0, tonumber(known[2] or 0) or 0
  if max > 0 or each > 0 then mended = mended + redis.call('SADD', key('slots:' .. limit), id) end
  if each > 0 then mended = mended + redis.call('SADD', key('slots:' .. limit .. ':' .. by), id) end
end

-- Jobs in the lane of admitted ones that ``admitted`` does not know. They come before all that wait, should they go back.
local function record_admitted(lane, limit)
  for _, range in ipairs({ { 'XRANGE', '-', '+' }, { 'XREVRANGE', '+', '-' } }) do
    local found = redis.pcall(range[1], key(lane), range[2], range[3], 'COUNT', limit)
    for _, entry in ipairs(found.err and {} or found) do
      local sealed = fields_of(entry)
      local id = id_of(sealed)
      if id ~= '' and redis.call('HEXISTS', key('admitted'), id) == 0 and place_in_index(id) == lane .. '|' .. entry[1] then
        local line = line_in(sealed)
        if line then
          unrecorded, mended = unrecorded + 1, mended + 1
          redis.call('HSET', key('admitted'), id, line .. '0')
          mend_admitted(id, line .. '0')
        end
      end
    end
  end
end

-- A rate admits the next job in an interval at the latest, and nothing is held before the time at which that was asked.
local function mend_wake(line, time)
  local _, _, limit, by = shared.parts_of(line)
  if not limit then return redis.call('ZREM', key('wake'), line) end
  local intervals, longest = redis.call('HMGET', key('limit:' .. limit), 'interval', 'each_interval'), 0
  for n = 1, 2 do longest = math.max(longest, tonumber(intervals[n] or 0) or 0) end
  if time <= at + longest / 1e6 + 1 then return end
  local _, till, since = shared.times_of('tat:' .. limit .. ':' .. by)
  if till >= (time - 1) * 1e6 and at * 1e6 > since - 1e6 then return end
  redis.call('ZREM', key('wake'), line)
  shared.reopen(limit, by)
  mended = mended + 1
end

-- A page of them: another one each time, and the next ones where something was wrong.
local function mend_wakes(count)
  local size = redis.call('ZCARD', key('wake'))
  if size == 0 then return end
  local start = size > count and math.floor(at * 1000) % (size - count + 1) or 0
  local page = redis.call('ZRANGE', key('wake'), start, start + count - 1, 'WITHSCORES')
  for n = 1, #page, 2 do mend_wake(page[n], tonumber(page[n + 1])) end
end

for _, limit in ipairs({ FEW, MANY }) do
  -- Before the slots: those of jobs that are not admitted are free.
  for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do record_admitted('q:' .. queue .. ':g', limit) end
  mend_wakes(limit)
  for _, id in ipairs(redis.call('HRANDFIELD', key('lined'), limit)) do mend_lined(id) end
  local admitted = redis.call('HRANDFIELD', key('admitted'), limit, 'WITHVALUES')
  for n = 1, #admitted, 2 do mend_admitted(admitted[n], admitted[n + 1]) end
  if mended == 0 then break end
end
local has_lines = redis.call('EXISTS', key('lined')) == 1
for _, limit in ipairs(redis.call('SRANDMEMBER', key('limits'), FEW)) do
  if not has_lines then redis.pcall('HDEL', key('limit:' .. limit), 'lined') end
  local before = mended
  free_some('slots:' .. limit)
  if mended > before then shared.reopen(limit, nil) end
end
if not has_lines then
  for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do redis.call('DEL', key('lined:' .. queue)) end
end
return { unrecorded, strays }
