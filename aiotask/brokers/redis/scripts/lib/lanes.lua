-- The lanes: streams in which jobs wait and are claimed.
-- Needs: core index due limits

-- The door through which every job comes to its place: until it is due in ``due``, else in its line or lane; the index says which.
-- ``jobs`` has ids, each followed by its envelope. A group of them has the rest in common: { lane or target in a line, position of the first id
-- in jobs, position of the last, meta, due (Unix seconds, nil: now), kind of due: S (scheduled), E (scheduled for a moment)
-- or R (retrying) }. ``buckets`` and ``fields``, by position: where the index has them, of a caller that has checked these
-- buckets before its first write. Returns what was written to the index.
local function put(groups, jobs, buckets, fields)
  local index, lined = {}, nil
  for g = 1, #groups do
    local group = groups[g]
    local lane, meta, due = group[1], group[4], group[5]
    local stream, from = key(lane), group[2]
    if not due and string.byte(lane) == 108 then
      lined = lined or {}
      lined[#lined + 1], from = group, group[3] + 1
    end
    for n = from, group[3], 2 do
      local id, sealed, at, bucket, field = jobs[n], jobs[n + 1], nil, nil, nil
      if due then
        hold(due, lane, id, sealed, meta)
        at = 'due|' .. group[6]
      elseif meta == '' then at = lane .. '|' .. redis.call('XADD', stream, '*', 'j', sealed)
      else at = lane .. '|' .. redis.call('XADD', stream, '*', 'j', sealed, 'm', meta) end
      if buckets then bucket, field = buckets[n], fields[n] else bucket, field = bucket_of(id) end
      local places = index[bucket]
      if not places then
        places = {}
        index[bucket] = places
      end
      local size = #places
      places[size + 1], places[size + 2] = field, at
    end
  end
  if lined then lines().line_up(lined, jobs, index, buckets, fields) end
  write_index(index, buckets)
  return index
end

-- The same of a single job.
local function put_one(lane, id, sealed, meta, due, kind) put({ { lane, 1, 1, meta, due, kind } }, { id, sealed }) end

-- The consumer group of a lane, made where there is none; false: something else stands in the place of the lane.
local function ensure_group(lane)
  local made = redis.pcall('XGROUP', 'CREATE', key(lane), GROUP, '0', 'MKSTREAM')
  return not (type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP'))
end

-- Undelivered entries of a lane for this incarnation; makes the group where it is missing.
local function take(lane, incarnation, count)
  local got = redis.pcall('XREADGROUP', 'GROUP', GROUP, incarnation, 'COUNT', count, 'STREAMS', key(lane), '>')
  if type(got) == 'table' and got.err then
    if not string.find(got.err, 'NOGROUP') or not ensure_group(lane) then return {} end
    got = redis.call('XREADGROUP', 'GROUP', GROUP, incarnation, 'COUNT', count, 'STREAMS', key(lane), '>')
  end
  if not got or #got == 0 then return {} end
  return got[1][2]
end

-- How many jobs of a queue wait, in its lanes and lines or since their task is paused.
local function waiting(queue)
  local lined, lanes = redis.pcall('GET', key('lined:' .. queue)), {}
  local count = type(lined) == 'string' and tonumber(lined) or 0
  for kind in string.gmatch(LANE_KINDS, '.') do lanes[#lanes + 1] = 'q:' .. queue .. ':' .. kind end
  for _, need in ipairs(redis.pcall('SMEMBERS', key('parked'))) do
    if string.match(need, '^pause:.*@([^:]*)') == queue then lanes[#lanes + 1] = 'parked:' .. need end
  end
  for _, lane in ipairs(lanes) do
    local length = redis.call('XLEN', key(lane))
    if length > 0 then
      local claims = redis.pcall('XPENDING', key(lane), GROUP)
      count = count + length - ((type(claims) == 'table' and not claims.err) and claims[1] or 0)
    end
  end
  return count
end

-- The jobs of a queue that wait longest, suspects left aside: lane, entry, sealed, meta.
local function longest(queue, count)
  local found, bytes = {}, 0
  for kind in string.gmatch(LANE_KINDS, '[^s]') do
    local lane, after = 'q:' .. queue .. ':' .. kind, '-'
    local groups = redis.pcall('XINFO', 'GROUPS', key(lane))
    if type(groups) == 'table' and not groups.err then
      for _, group in ipairs(groups) do
        for f = 1, #group, 2 do
          if group[f] == 'last-delivered-id' then after = '(' .. group[f + 1] end
        end
      end
    end
    for _, entry in ipairs(redis.call('XRANGE', key(lane), after, '+', 'COUNT', count)) do
      local ms, seq = string.match(entry[1], '^(%d+)-(%d+)$')
      found[#found + 1] = { tonumber(ms), tonumber(seq), lane, entry }
    end
  end
  table.sort(found, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    -- Numbers are counted lane by lane.
    if a[3] ~= b[3] then return a[3] > b[3] end
    return a[2] < b[2]
  end)
  local flat = {}
  for n = 1, math.min(count, #found) do
    local sealed, meta = fields_of(found[n][4])
    for _, part in ipairs({ found[n][3], found[n][4][1], sealed, meta }) do flat[#flat + 1] = part end
    bytes = bytes + #sealed
    if bytes > BATCH_BYTES then break end
  end
  return flat
end
