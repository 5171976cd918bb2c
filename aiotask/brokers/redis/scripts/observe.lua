-- KEYS: prefix.  ARGV: host, sequence, report, TTL of a minute and of ten (s), how many errors are kept, then per task, queue or
-- the errors of all, and for the release of the host: field (``t:TASK``, ``q:QUEUE``, ``e``, ``r``) and its numbers (a msgpack map).
-- Adds to the minute and the ten minutes that it is, once for each host and sequence; keeps the report of a host that has a lease.
-- Returns whether it was added (1 or 0).
-- Needs: core stats
local host, sequence, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6])
local at = now()
local before = redis.pcall('HGET', key('reports'), host)
local is_new = not (type(before) == 'string' and #before >= 16 and struct.unpack('>I8', before) >= sequence)
allow_writes()
if type(before) == 'table' then redis.call('DEL', key('reports')) end

local function numbers_in(packed)
  local ok, numbers = pcall(cmsgpack.unpack, packed or '')
  return ok and type(numbers) == 'table' and numbers or {}
end

local function add(packed, more)
  local numbers = numbers_in(packed)
  for slot, number in pairs(numbers_in(more)) do numbers[slot] = (tonumber(numbers[slot]) or 0) + number end
  return numbers
end

-- The most frequent ones.
local function frequent(numbers)
  local names = {}
  for name in pairs(numbers) do names[#names + 1] = name end
  if #names <= most then return numbers end
  table.sort(names, function(one, other) return numbers[one] > numbers[other] end)
  local kept = {}
  for n = 1, most do kept[names[n]] = numbers[names[n]] end
  return kept
end

local function note(name, ttl)
  if type(redis.pcall('HLEN', name)) == 'table' then redis.call('DEL', name) end
  local fields, values = {}, {}
  for n = 7, #ARGV, 2 do fields[#fields + 1] = ARGV[n] end
  if #fields > 0 then
    local known = redis.call('HMGET', name, unpack(fields))
    for n = 1, #fields do
      local numbers = add(known[n], ARGV[6 + 2 * n])
      if #fields[n] == 1 then numbers = frequent(numbers) end
      values[2 * n - 1], values[2 * n] = fields[n], cmsgpack.pack(numbers)
    end
    redis.call('HSET', name, unpack(values))
  end
  -- The state of the queues, as the first one in this time has found it.
  if redis.call('HEXISTS', name, '*') == 0 then redis.call('HSET', name, '*', cmsgpack.pack(counts_of_all(0))) end
  redis.call('EXPIRE', name, ttl)
end

if is_new then
  note(key('m:' .. math.floor(at / 60)), ARGV[4])
  note(key('m10:' .. math.floor(at / 600)), ARGV[5])
end
-- A host that was declared dead meanwhile has none.
if redis.call('HEXISTS', key('leases'), host) == 1 then
  redis.call('HSET', key('reports'), host, struct.pack('>I8I8', sequence, math.floor(at * 1000)) .. ARGV[3])
end
return is_new and 1 or 0
