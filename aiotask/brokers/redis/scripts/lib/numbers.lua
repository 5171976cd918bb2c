-- The numbers of limits: what workers have declared and operators have set becomes what admit.lua reads.
-- Needs: core limits

local function map_in(packed)
  local ok, found = pcall(cmsgpack.unpack, packed or '')
  return ok and type(found) == 'table' and found or {}
end

-- Every admitted job of a limit has its slots, also where their number was not limited when it was admitted.
local function recount(limit)
  local shared, flat = lines(), redis.call('HGETALL', key('admitted'))
  for n = 1, #flat, 2 do
    local _, _, name, by = shared.parts_of(string.match(flat[n + 1], '^(.*)|') or '')
    if name == limit then
      redis.call('SADD', key('slots:' .. limit), flat[n])
      redis.call('SADD', key('slots:' .. limit .. ':' .. by), flat[n])
    end
  end
end

-- What holds from now on. What waited by the old numbers gets its turn.
local function apply_numbers(limit)
  local name, names = key('limit:' .. limit), { 'max', 'each', 'interval', 'burst', 'each_interval', 'each_burst' }
  local before = redis.call('HMGET', name, unpack(names))
  local known = redis.call('HMGET', name, 'declared', 'set', 'known')
  local declared, set = map_in(known[1]), map_in(known[2])
  local function number(field)
    if known[3] ~= '1' then return 0 end
    return tonumber(set[field] or declared[field] or 0) or 0
  end
  local function interval_of(rate) return rate > 0 and string.format('%.17g', 1e6 / rate) or '0' end
  local function burst_of(rate, burst) return burst > 0 and burst or math.max(1, math.floor(rate * 0.05)) end
  local rate, rate_each = number('rate'), number('rate_each')
  local now_is = {
    string.format('%.0f', number('max_running')), string.format('%.0f', number('max_running_each')),
    interval_of(rate), string.format('%.0f', burst_of(rate, number('burst'))),
    interval_of(rate_each), string.format('%.0f', burst_of(rate_each, number('burst_each'))),
  }
  local row, is_changed = {}, false
  for n, field in ipairs(names) do
    row[2 * n - 1], row[2 * n] = field, now_is[n]
    is_changed = is_changed or before[n] ~= now_is[n]
  end
  if not is_changed then return end
  redis.call('HSET', name, unpack(row))
  local shared = lines()
  for n = 1, 2 do
    if now_is[n] ~= '0' and (before[n] or '0') == '0' then
      recount(limit)
      break
    end
  end
  for _, line in ipairs(redis.call('ZRANGE', key('wake'), 0, 9999)) do
    local _, _, held, by = shared.parts_of(line)
    if held == limit then
      redis.call('ZREM', key('wake'), line)
      shared.reopen(limit, by)
    end
  end
  shared.reopen(limit, nil)
end
