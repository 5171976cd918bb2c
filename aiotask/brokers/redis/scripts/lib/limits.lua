-- Limits: the lines in which their jobs wait, and the jobs that are admitted.
-- Needs: core index meta
--
-- A limited job waits in a line, ``l:QUEUE:PRIORITY:LIMIT:KEY``, by its number there. Its target is ``LINE|NUMBER``, or ``LINE|``
-- for the end of the line. Only admit.lua takes it out, into ``q:QUEUE:g``. A slot is a member of a set: nothing is counted up
-- or down, so no slot is given back twice, and none is lost.

-- One function, which makes the others where there are limited jobs: the server evaluates each definition at the top on every
-- call.
local function lines()
  local made = {}

  local function parts_of(line) return string.match(line, '^l:([^:]+):(%d):([^:]+):(.*)$') end
  made.parts_of = parts_of

  -- Numbers in lines and turns in rings: the last of as many as are asked for. Where the hash of the limit is new, it may have
  -- been deleted by hand: counting begins at the time in microseconds, above every number that it gave.
  function made.count_on(limit, count)
    local name = key('limit:' .. limit)
    local last = redis.call('HINCRBY', name, 'seq', count)
    if last > count then return last end
    return redis.call('HINCRBY', name, 'seq', string.format('%.0f', now() * 1e6))
  end

  -- Wakes one worker that blocks.
  function made.ring_bell(queue)
    local bell = key('q:' .. queue .. ':b')
    if redis.pcall('XLEN', bell) == 0 then redis.pcall('XADD', bell, '*', 'b', '') end
  end

  -- The limit may admit something at this place. It comes behind the limits that have their turn there.
  local function open(limit, at)
    local name = key('open:' .. at)
    local last = redis.call('ZREVRANGE', name, 0, 0, 'WITHSCORES')
    redis.call('ZADD', name, 'NX', (tonumber(last[2] or 0)) + 1, limit)
    redis.call('SADD', key('open'), at)
    made.ring_bell(string.match(at, '^(.*):%d$'))
  end

  -- A key of a limit may go on: it gets its turn at each place where it has a line. Without a key, the limit as a whole may.
  local function reopen(limit, by)
    local turn
    for _, at in ipairs(redis.call('SMEMBERS', key('places:' .. limit))) do
      local ring = key('ring:' .. at .. ':' .. limit)
      if by and redis.call('EXISTS', key('l:' .. at .. ':' .. limit .. ':' .. by)) == 1 then
        turn = turn or made.count_on(limit, 1)
        redis.call('ZADD', ring, 'NX', turn, by)
      end
      if redis.call('EXISTS', ring) == 1 then open(limit, at) end
    end
  end
  made.reopen = reopen

  -- Gathers the jobs of these groups (see ``put``) by line.
  local function gather(groups, jobs)
    local found, by_line, packed = {}, {}, {}
    for g = 1, #groups do
      local group = groups[g]
      local line, number = string.match(group[1], '^(.*)|(%d*)$')
      local list = by_line[line]
      if not list then
        local queue, priority, limit, by = parts_of(line)
        list = { line = line, queue = queue, at = queue .. ':' .. priority, limit = limit, by = by, jobs = {}, numbers = {} }
        by_line[line], found[#found + 1] = list, list
      end
      local head = struct.pack('>I2', #group[4]) .. group[4]
      for n = group[2], group[3], 2 do
        local size = #list.jobs + 1
        list.jobs[size], list.numbers[size] = n, tonumber(number) or false
        packed[#packed + 1], packed[#packed + 2] = jobs[n], head .. jobs[n + 1]
      end
    end
    return found, packed
  end

  -- Puts jobs into their lines, a line at a time, and their keys into the rings. The places are added to ``index``.
  function made.line_up(groups, jobs, index, buckets, fields)
    local found, packed = gather(groups, jobs)
    local counts, next_number, last, queued = {}, {}, {}, {}
    for _, list in ipairs(found) do counts[list.limit] = (counts[list.limit] or 0) + #list.jobs end
    for limit, count in pairs(counts) do
      last[limit] = made.count_on(limit, count)
      next_number[limit] = last[limit] - count
      redis.pcall('HINCRBY', key('limit:' .. limit), 'lined', count)
    end
    local rings = {}
    for _, list in ipairs(found) do
      local scored, limit = {}, list.limit
      for n, job in ipairs(list.jobs) do
        local number = list.numbers[n]
        if not number then
          number = next_number[limit] + 1
          next_number[limit] = number
        end
        scored[2 * n - 1], scored[2 * n] = number, jobs[job]
        local bucket, field
        if buckets then bucket, field = buckets[job], fields[job] else bucket, field = bucket_of(jobs[job]) end
        local places = index[bucket]
        if not places then
          places = {}
          index[bucket] = places
        end
        local size = #places
        places[size + 1], places[size + 2] = field, string.format('%s|%.0f', list.line, number)
      end
      redis.call('ZADD', key(list.line), unpack(scored))
      local ring = rings[list.at .. ':' .. limit]
      if not ring then
        ring = { at = list.at, limit = limit }
        rings[list.at .. ':' .. limit] = ring
      end
      ring[#ring + 1], ring[#ring + 2] = last[limit], list.by
      queued[list.queue] = (queued[list.queue] or 0) + #list.jobs
    end
    redis.call('HSET', key('lined'), unpack(packed))
    for queue, count in pairs(queued) do redis.pcall('INCRBY', key('lined:' .. queue), count) end
    for name, ring in pairs(rings) do
      redis.call('SADD', key('limits'), ring.limit)
      redis.call('SADD', key('places:' .. ring.limit), ring.at)
      redis.call('ZADD', key('ring:' .. name), 'NX', unpack(ring))
      open(ring.limit, ring.at)
    end
  end

  -- Subtract jobs that have left their lines from the counters of the queue and of its limits. ``counts``: limit -> jobs.
  function made.count_off(queue, counts)
    local all = 0
    for limit, count in pairs(counts) do
      all = all + count
      local left = redis.pcall('HINCRBY', key('limit:' .. limit), 'lined', -count)
      if type(left) ~= 'number' or left <= 0 then redis.pcall('HDEL', key('limit:' .. limit), 'lined') end
    end
    local left = redis.pcall('DECRBY', key('lined:' .. queue), all)
    if type(left) ~= 'number' or left <= 0 then redis.call('DEL', key('lined:' .. queue)) end
  end

  -- Takes a job out of its line: its envelope and its meta; nil: neither is there.
  function made.take_out(line, id)
    local packed = redis.call('HGET', key('lined'), id)
    redis.call('ZREM', key(line), id)
    redis.call('HDEL', key('lined'), id)
    local queue, _, limit = parts_of(line)
    made.count_off(queue, { [limit] = 1 })
    if not packed or #packed < 2 then return nil end
    local size = struct.unpack('>I2', packed)
    return string.sub(packed, 3 + size), string.sub(packed, 3, 2 + size)
  end

  -- The times of a rate, as the scripts keep them: when the next start would come evenly; until when nothing starts, and since
  -- when that holds. All in microseconds.
  function made.times_of(name)
    local tat, till, since = string.match(redis.call('GET', key(name)) or '', '^(%S+) ?(%S*) ?(%S*)$')
    return tonumber(tat) or 0, tonumber(till) or 0, tonumber(since) or 0
  end

  function made.keep_times(name, at, tat, till, since)
    local text = string.format('%.17g', tat)
    if till > at then text = string.format('%s %.17g %.17g', text, till, since) end
    redis.call('SET', key(name), text, 'PX', math.ceil((math.max(tat, till, at) - at) / 1000) + 1000)
  end

  -- The rule of a rate (``limit.gcra``): how many may start now, what is kept of the rate so far, and when the first may start.
  function made.gcra(tat, at, interval, burst)
    tat = math.max(at, math.min(tat, at + interval * burst))
    local first = tat - interval * (burst - 1)
    if first > at then return 0, tat, first end
    return 1 + math.floor((at - first) / interval + 1e-9), tat, 0
  end

  -- The tokens of jobs that did not start.
  local function give_tokens_back(limit, by, count)
    local intervals, at = redis.call('HMGET', key('limit:' .. limit), 'interval', 'each_interval'), now() * 1e6
    for n, name in ipairs({ 'tat:' .. limit, 'tat:' .. limit .. ':' .. by }) do
      local interval = tonumber(intervals[n] or 0) or 0
      if interval > 0 and redis.call('EXISTS', key(name)) == 1 then
        local tat, till, since = made.times_of(name)
        made.keep_times(name, at, math.max(0, tat - interval * count), till, since)
      end
    end
  end

  -- These jobs are not admitted any more: they ended, or wait again. ``are_unstarted``: their tokens are given back.
  function made.let_go(ids, are_unstarted)
    local held = redis.call('HMGET', key('admitted'), unpack(ids))
    local gone, by_limit, by_key = {}, {}, {}
    for n = 1, #ids do
      local _, _, limit, by = parts_of(held[n] and string.match(held[n], '^(.*)|') or '')
      if held[n] then gone[#gone + 1] = ids[n] end
      if limit then
        if not by_limit[limit] then by_limit[limit], by_key[limit] = {}, {} end
        local all, keys = by_limit[limit], by_key[limit]
        all[#all + 1] = ids[n]
        if not keys[by] then keys[by] = {} end
        keys[by][#keys[by] + 1] = ids[n]
      end
    end
    if #gone == 0 then return end
    redis.call('HDEL', key('admitted'), unpack(gone))
    for limit, all in pairs(by_limit) do
      local was_in, is_open = redis.call('SREM', key('slots:' .. limit), unpack(all)) > 0, false
      for by, some in pairs(by_key[limit]) do
        if are_unstarted then give_tokens_back(limit, by, #some) end
        if redis.call('SREM', key('slots:' .. limit .. ':' .. by), unpack(some)) > 0 or are_unstarted then
          reopen(limit, by)
          is_open = true
        end
      end
      if was_in and not is_open then reopen(limit, nil) end
    end
  end

  -- What a rate held, and may go on by now, gets its turn. Returns seconds until the next one may; nil: no rate holds anything.
  function made.wake(at)
    for _, line in ipairs(redis.call('ZRANGEBYSCORE', key('wake'), '-inf', at, 'LIMIT', 0, 250)) do
      redis.call('ZREM', key('wake'), line)
      local _, _, limit, by = parts_of(line)
      if limit then reopen(limit, by) end
    end
    local first = redis.call('ZRANGE', key('wake'), 0, 0, 'WITHSCORES')
    return first[2] and math.max(0, tonumber(first[2]) - at)
  end

  return made
end

-- The target of a job by its envelope: the line of its limit, at the end; nil: it has no limit. For the rare paths on which the
-- caller has not decoded it.
local function line_in(sealed)
  local ok, target = pcall(function()
    local fields = fields_in(string.sub(sealed, SEAL_BYTES + 1))
    local limit = cmsgpack.unpack(fields_in(fields[13])[4])
    if limit == '' then return nil end
    local queue, _, priority = peek(sealed)
    return 'l:' .. queue .. ':' .. priority .. ':' .. limit .. '|'
  end)
  return ok and target or nil
end
