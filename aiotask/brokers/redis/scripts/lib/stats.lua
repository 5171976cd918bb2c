-- What is on the server at one moment, counted once for all who look within STATS_AGE.
-- Needs: core due

-- Looks at no job but the next ones that are due and the oldest of each lane.
local function count_all()
  local SAMPLE = 200

  -- Length, number of claimed entries, and last delivered entry of a lane.
  local function state_of(lane)
    local length = redis.call('XLEN', key(lane))
    if length == 0 then return 0, 0, '' end
    local claimed, last = 0, ''
    local groups = redis.pcall('XINFO', 'GROUPS', key(lane))
    for _, group in ipairs(not groups.err and groups or {}) do
      local facts = {}
      for n = 1, #group, 2 do facts[group[n]] = group[n + 1] end
      if facts.name == GROUP then claimed, last = facts.pending, facts['last-delivered-id'] end
    end
    return length, claimed, last
  end

  local consumers, workers = {}, 0
  local live = redis.call('HGETALL', key('live'))
  for n = 1, #live, 2 do
    if live[n] ~= '' then
      workers = workers + 1
      local ok, facts = pcall(cmsgpack.unpack, live[n + 1])
      for _, queue in ipairs(ok and type(facts) == 'table' and type(facts.queues) == 'table' and facts.queues or {}) do
        if type(queue) == 'string' then consumers[queue] = (consumers[queue] or 0) + 1 end
      end
    end
  end

  local due, looked, bytes = {}, 0, 0
  local total = redis.call('ZCARD', key('due'))
  for _, id in ipairs(total > 0 and redis.call('ZRANGE', key('due'), 0, SAMPLE - 1) or {}) do
    bytes = bytes + redis.call('HSTRLEN', key('held'), id)
    if bytes > BATCH_BYTES and looked > 0 then break end
    looked = looked + 1
    local target = unpack_held(redis.call('HGET', key('held'), id) or '')
    local queue = string.match(target, '^q:(.*):%w$') or string.match(target, '^l:([^:]+)')
    if queue then due[queue] = (due[queue] or 0) + 1 end
  end

  local parked, claimed_there, paused = 0, 0, 0
  for _, need in ipairs(redis.call('SMEMBERS', key('parked'))) do
    local length, claimed = state_of('parked:' .. need)
    parked, claimed_there = parked + length - claimed, claimed_there + claimed
    if string.sub(need, 1, 6) == 'pause:' then paused = paused + length - claimed end
  end

  local queues, held = {}, {}
  for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do
    local lined = redis.pcall('GET', key('lined:' .. queue))
    local pending, running, oldest = type(lined) == 'string' and tonumber(lined) or 0, 0, nil
    if pending > 0 then held[#held + 1] = { queue, pending } end
    for kind in string.gmatch(LANE_KINDS, '.') do
      local lane = 'q:' .. queue .. ':' .. kind
      local length, claimed, last = state_of(lane)
      pending, running = pending + math.max(0, length - claimed), running + claimed
      if length > claimed then
        local head = redis.call('XRANGE', key(lane), last == '' and '-' or '(' .. last, '+', 'COUNT', 1)[1]
        local since = head and tonumber(string.match(head[1], '^%d+'))
        if since and (not oldest or since < oldest) then oldest = since end
      end
    end
    local since = oldest and string.format('%.0f', oldest) or ''
    queues[#queues + 1] = { queue, pending, running, due[queue] or 0, consumers[queue] or 0, since }
  end
  -- Beside the counts, where releases that do not know them do not look: how many of the parked jobs wait for the end of a pause,
  -- and how many jobs of a queue are in lines.
  local counts = redis.call('HGETALL', key('counts'))
  counts[#counts + 1], counts[#counts + 2] = 'PAUSED', string.format('%d', paused)
  for _, each in ipairs(held) do
    counts[#counts + 1] = each[1] .. '|HELD'
    counts[#counts + 1] = string.format('%d', each[2])
  end
  return { string.format('%.6f', now()), workers, total, looked, parked, claimed_there, redis.call('ZCARD', key('dead')),
    counts, queues, redis.call('HKEYS', key('paused')) }
end

-- The counts, at most this many milliseconds old; 0: they are counted for this look alone, which changes nothing on the server.
-- Where this user may not write, each look counts anew.
local function counts_of_all(age)
  local kept = age > 0 and redis.pcall('GET', key('stats'))
  if type(kept) == 'string' then
    local ok, stats = pcall(cmsgpack.unpack, kept)
    local past = ok and type(stats) == 'table' and now() - (tonumber(stats[1]) or 0)
    if past and past >= 0 and past * 1000 <= age then return stats end
  end
  local stats = count_all()
  if age > 0 and pcall(allow_writes) then redis.pcall('SET', key('stats'), cmsgpack.pack(stats), 'PX', STATS_AGE) end
  return stats
end
