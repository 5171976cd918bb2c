-- Jobs of which no run starts after some time.
-- Needs: core index due

-- The member of ``expiring`` is the id of such a job, the score its time. Behind this sum stand those whose time is over and
-- that a worker has: the rest is when they are looked at again.
local HAD = 1e11
-- Seconds between two looks at such a job.
local AGAIN = 0.8

-- Task and result TTL (seconds, as text) inside a sealed envelope, see ``peek``.
local function peek_end(sealed)
  local ok, task, ttl = pcall(function()
    local job = string.sub(sealed, SEAL_BYTES + 1)
    local at, _, _, task = cmsgpack.unpack_limit(job, 4, 1)
    local width = ({ [0xc4] = 1, [0xc5] = 2, [0xc6] = 4 })[string.byte(job, at + 1)]
    local body = struct.unpack('>I' .. width, job, at + 2)
    local _, _, _, _, _, _, ttl = cmsgpack.unpack_limit(job, 6, at + 1 + width + body)
    return task, string.format('%.3f', ttl)
  end)
  if ok and type(task) == 'string' then return task, ttl end
  return '', '0'
end

-- The number of the next run.
local function attempt_of(meta)
  local ok, _, attempt = pcall(cmsgpack.unpack_limit, meta, 1, 1)
  return ok and type(attempt) == 'number' and string.format('%d', attempt) or '1'
end

-- Appends to ``found`` what is known of an expired job, if no worker has it: id, time ('0': not known any more), task, result TTL,
-- number of the next run.
local function find_expired(found, id, time, at)
  local ok, place = pcall(place_in_index, id)
  if not ok or not place then return redis.call('ZREM', key('expiring'), id) end
  local lane, entry = place_of(place)
  local sealed, meta, is_had, _ = nil, nil, true, nil
  if lane == 'due' then
    local held = redis.call('HGET', key('held'), id)
    if held then
      lane, meta, sealed = unpack_held(held)
      is_had = is_foreign_lane(lane)
    end
  elseif lane then
    local claims = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
    is_had = type(claims) == 'table' and not claims.err and #claims > 0
    if not is_had then
      ok, _, sealed, meta = pcall(read, lane, entry)
      is_had = not ok or not sealed
    end
  end
  if is_had then return redis.call('ZADD', key('expiring'), HAD + at + AGAIN, id) end
  local task, ttl = peek_end(sealed)
  for _, part in ipairs({ id, tonumber(time) < HAD and time or '0', task, ttl, attempt_of(meta) }) do found[#found + 1] = part end
end

-- The jobs whose time is over and that no worker has, ``count`` at most, as ``find_expired`` finds them.
local function expired_at(at, count)
  local found = {}
  for _, range in ipairs({ { '-inf', at }, { HAD, HAD + at } }) do
    local ids = redis.call('ZRANGEBYSCORE', key('expiring'), range[1], range[2], 'WITHSCORES', 'LIMIT', 0, count)
    for n = 1, #ids, 2 do
      if #found < 5 * count then find_expired(found, ids[n], ids[n + 1], at) end
    end
  end
  return found
end
