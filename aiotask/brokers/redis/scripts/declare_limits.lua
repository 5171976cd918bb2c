-- KEYS: prefix.  ARGV: generation (Unix seconds; 0: of a client), by whom, whether what it declared before is removed ('1' or ''),
-- then per limit: name, numbers (msgpack of a map).
-- Returns the names of the limits that were removed.
-- Needs: core limits numbers
local generation, by, removed, named = tonumber(ARGV[1]), ARGV[2], {}, {}
redis.call('SCARD', key('limits'))
allow_writes()
-- Which services have the limit, each with its generation: a field for each, since one may leave what the others still have.
local mine = 'of:' .. by
local function heir_of(name)
  local flat, heir, last = redis.call('HGETALL', name), nil, nil
  for n = 1, #flat, 2 do
    local other = string.match(flat[n], '^of:(.*)$')
    if other and (not last or tonumber(flat[n + 1]) > tonumber(last)) then heir, last = other, flat[n + 1] end
  end
  return heir, last
end

for n = 4, #ARGV, 2 do
  local limit, packed = ARGV[n], ARGV[n + 1]
  local name = key('limit:' .. limit)
  local before = redis.call('HMGET', name, 'generation', 'known', 'declared')
  named[limit] = true
  if ARGV[3] == '1' then redis.call('HSET', name, mine, ARGV[1]) end
  -- What a younger generation has declared stays.
  if not before[2] or generation > 0 and generation >= (tonumber(before[1] or 0) or 0) then
    redis.call('SADD', key('limits'), limit)
    redis.call('HSET', name, 'generation', ARGV[1], 'by', by, 'known', '1', 'declared', packed)
    if before[2] ~= '1' or before[3] ~= packed then
      apply_numbers(limit)
      lines().reopen(limit, nil)
    end
  end
end
if ARGV[3] == '1' then
  for _, limit in ipairs(redis.call('SMEMBERS', key('limits'))) do
    local name = key('limit:' .. limit)
    local known = redis.call('HMGET', name, 'generation', 'by', 'known')
    local left = not named[limit] and generation >= (tonumber(redis.call('HGET', name, mine) or 0) or 0)
    if left then redis.call('HDEL', name, mine) end
    if left and known[2] == by and known[3] == '1' and generation >= (tonumber(known[1] or 0) or 0) then
      local heir, since = heir_of(name)
      if heir then
        -- Another service still has it. Its next declaration says by which numbers.
        redis.call('HSET', name, 'by', heir, 'generation', since)
      else
        -- Its lines drain without it.
        redis.call('HSET', name, 'known', 'removed', 'generation', ARGV[1])
        apply_numbers(limit)
        lines().reopen(limit, nil)
        removed[#removed + 1] = limit
      end
    end
  end
end
return removed
