-- KEYS: prefix.  ARGV: generation (Unix seconds; 0: of a client), by whom, whether what it declared before is removed ('1' or ''),
-- then per limit: name, numbers (msgpack of a map).
-- Returns the names of the limits that were removed.
-- Needs: core limits numbers
local generation, by, removed, named = tonumber(ARGV[1]), ARGV[2], {}, {}
redis.call('SCARD', key('limits'))
allow_writes()
for n = 4, #ARGV, 2 do
  local limit, packed = ARGV[n], ARGV[n + 1]
  local name = key('limit:' .. limit)
  local before = redis.call('HMGET', name, 'generation', 'known', 'declared')
  named[limit] = true
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
    if not named[limit] and known[2] == by and known[3] == '1' and generation >= (tonumber(known[1] or 0) or 0) then
      -- Its lines drain without it.
      redis.call('HSET', name, 'known', 'removed', 'generation', ARGV[1])
      apply_numbers(limit)
      lines().reopen(limit, nil)
      removed[#removed + 1] = limit
    end
  end
end
return removed
