-- KEYS: prefix.  The index holds exactly the unfinished jobs; where somebody has deleted keys by hand, that is put right.
-- Looks at a bounded number of jobs a call, and at none where the counts agree. Returns how many were forgotten and found.
local AT_MOST = 100
local lanes, count = {}, redis.call('ZCARD', key('due'))
local function note(lane)
  local length = redis.pcall('XLEN', key(lane))
  if type(length) == 'table' or length == 0 then return end
  lanes[#lanes + 1] = lane
  count = count + length
end
for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do
  note('q:' .. queue .. ':s')
  note('q:' .. queue .. ':r')
  for priority = 0, 9 do note('q:' .. queue .. ':' .. priority) end
end
for _, need in ipairs(redis.call('SMEMBERS', key('parked'))) do note('parked:' .. need) end
local known = redis.call('HLEN', key('index'))
if known == count then return { 0, 0 } end
allow_writes()

local forgotten, found = 0, 0
local some = redis.call('HRANDFIELD', key('index'), AT_MOST, 'WITHVALUES')
for n = 1, #some, 2 do
  local lane = place_of(some[n + 1])
  local kind = lane and redis.call('TYPE', key(lane)).ok
  -- What has the wrong type is somebody's to mend.
  if not lane or (kind == 'stream' or kind == 'none' or kind == 'zset') and not is_there(some[n], some[n + 1]) then
    forget(some[n])
    forgotten = forgotten + 1
  end
end

local function find(lane, entries)
  for _, entry in ipairs(entries) do
    local id = fields_of(entry)
    if id ~= '' then found = found + redis.call('HSETNX', key('index'), id, lane .. '|' .. entry[1]) end
  end
end
-- From both ends, and from somewhere in the middle.
local part = tonumber(redis.call('TIME')[2]) / 1000000
for _, lane in ipairs(lanes) do
  local last = redis.call('XREVRANGE', key(lane), '+', '-', 'COUNT', AT_MOST)
  local first = redis.call('XRANGE', key(lane), '-', '+', 'COUNT', AT_MOST)
  find(lane, first)
  find(lane, last)
  if redis.call('XLEN', key(lane)) > 2 * AT_MOST then
    local low, high = tonumber(string.match(first[1][1], '^%d+')), tonumber(string.match(last[1][1], '^%d+'))
    local middle = string.format('%.0f', low + (high - low) * part)
    find(lane, redis.call('XRANGE', key(lane), middle, '+', 'COUNT', AT_MOST))
  end
end
return { forgotten, found }
