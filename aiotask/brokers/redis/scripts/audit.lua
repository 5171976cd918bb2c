-- KEYS: prefix.  ARGV: '1' where there may be graphs.  The index holds exactly the unfinished jobs; where keys were deleted
-- by hand, that is put right. Looks at a bounded number of jobs a call, and at few where nothing is wrong. Returns how many were
-- forgotten and found, whether the set of the buckets was lost (the caller looks for those that there are), whether there are
-- limits (mend_lines.lua is for them), and whether some dead letters have no facts, or some facts no letter.
-- Needs: core nodes index due history repair damage
local AT_MOST, BUCKETS, FEW, FEW_NODES = 100, 128, 5, 10
local lanes, count, limited = {}, redis.call('ZCARD', key('due')), 0
if redis.call('EXISTS', key('limits'), key('lined'), key('admitted')) > 0 then
  limited, count = 1, count + redis.call('HLEN', key('lined'))
end
local function note(lane)
  local length = redis.pcall('XLEN', key(lane))
  if type(length) == 'table' or length == 0 then return end
  lanes[#lanes + 1] = lane
  count = count + length
end
for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do
  for kind in string.gmatch(LANE_KINDS, '.') do note('q:' .. queue .. ':' .. kind) end
end
for _, need in ipairs(redis.call('SMEMBERS', key('parked'))) do note('parked:' .. need) end
if redis.call('HLEN', key('held')) > redis.call('ZCARD', key('due')) then
  -- What is held without a time never falls due.
  allow_writes()
  for _, id in ipairs(redis.call('HRANDFIELD', key('held'), AT_MOST)) do
    if not redis.call('ZSCORE', key('due'), id) then
      local at, lane = place_in_index(id), unpack_held(redis.call('HGET', key('held'), id))
      if not (at and is_foreign(at) or is_foreign_lane(lane)) then
        if at and place_of(at) == 'due' then forget(id) else redis.call('HDEL', key('held'), id) end
      end
    end
  end
end
-- A node waits for ever if its graph was deleted by hand, or something else put in its place, or if something in it was: then it
-- waits though everything upstream of it has ended, or is left when its graph is at rest.
local function mend_nodes(at_most)
  local nodes, types, forgotten = redis.pcall('HRANDFIELD', key('nodes'), at_most, 'WITHVALUES'), {}, 0
  local is_idle = redis.pcall('LLEN', key('agenda')) == 0
  for n = 1, nodes.err and 0 or #nodes, 2 do
    local gid = string.match(nodes[n + 1], '^%d+|(.*)$')
    if gid and not types[gid] then types[gid] = redis.call('TYPE', key('g:' .. gid)).ok end
    local is_over = types[gid] == 'hash' and redis.call('HGET', key('g:' .. gid), 'state') == 'e'
    if not gid or (types[gid] ~= 'hash' or is_over) and not place_in_index(nodes[n]) then
      redis.call('HDEL', key('nodes'), nodes[n])
      redis.pcall('HDEL', key('watch'), nodes[n])
      add_up('WAITING', -1)
      forgotten = forgotten + 1
    elseif n <= 2 * FEW_NODES and is_idle then
      local number, _, state = waiting_node(nodes[n])
      local is_nowhere = not number and not place_in_index(nodes[n]) and redis.call('HGET', key('g:' .. gid), 'state') == 'c'
      if is_nowhere or number and state == 'c' and upstream_of(gid, number, 0, 's', 4) == 'over' then
        allow_writes()
        note_damage(gid)
      end
    end
  end
  return forgotten
end
if ARGV[1] == '1' and mend_nodes(FEW_NODES) > 0 then mend_nodes(AT_MOST) end
-- Releases that know no facts of dead letters have written or removed some of the letters.
local facts = redis.pcall('HLEN', key('dead:facts'))
local letters = redis.pcall('ZCARD', key('dead'))
local bare = type(facts) == 'number' and type(letters) == 'number' and facts ~= letters and 1 or 0
local many, lost = redis.call('SCARD', key('index')), 0
if redis.call('SISMEMBER', key('index'), '.') == 0 and many + redis.call('EXISTS', key('queues')) > 0 then lost = 1 end
if many <= BUCKETS then
  local known = 0
  for _, bucket in ipairs(redis.call('SMEMBERS', key('index'))) do
    local length = redis.pcall('HLEN', key('index:' .. bucket))
    if length == 0 and bucket ~= '.' then
      -- Deleted by hand.
      allow_writes()
      redis.call('SREM', key('index'), bucket)
    elseif type(length) == 'number' then known = known + length end
  end
  if known == count then return { 0, 0, lost, limited, bare } end
end
allow_writes()

local forgotten, found
local function forget_some(limit)
  local buckets = redis.call('SRANDMEMBER', key('index'), math.ceil(limit / 10))
  -- Where there are few buckets, more of each: one of them may hold thousands of strange fields.
  local share = math.max(10, math.ceil(limit / #buckets))
  for _, bucket in ipairs(buckets) do
    local some = redis.pcall('HRANDFIELD', key('index:' .. bucket), share, 'WITHVALUES')
    for n = 1, #some, 2 do
      local id, at = bucket .. some[n], some[n + 1]
      local lane = place_of(at)
      local kind = lane and redis.call('TYPE', key(lane)).ok
      -- A key of the wrong type is left to people.
      local can_look = not lane or kind == 'stream' or kind == 'none' or kind == 'zset'
      if bucket_of(id) ~= bucket then
        -- No script looks for a job there.
        redis.call('HDEL', key('index:' .. bucket), some[n])
        forgotten = forgotten + 1
      elseif can_look and not is_there(id, at) then
        forget(id)
        forgotten = forgotten + 1
      end
    end
    if bucket ~= '.' and redis.call('EXISTS', key('index:' .. bucket)) == 0 then redis.call('SREM', key('index'), bucket) end
  end
end
local function note_place(id, at)
  local bucket, field = bucket_of(id)
  local is_new = redis.pcall('HSETNX', key('index:' .. bucket), field, at) == 1
  if redis.call('SADD', key('index'), bucket) == 1 or is_new then found = found + 1 end
end
local function find(lane, entries)
  for _, entry in ipairs(entries) do
    local id = id_of((fields_of(entry)))
    if id ~= '' then note_place(id, lane .. '|' .. entry[1]) end
  end
end
-- From both ends, and from somewhere in the middle.
local function find_some(limit)
  local part = tonumber(redis.call('TIME')[2]) / 1e6
  for _, range in ipairs({ 'ZRANGE', 'ZREVRANGE' }) do
    for _, id in ipairs(redis.call(range, key('due'), 0, limit - 1)) do
      if redis.call('HEXISTS', key('held'), id) == 1 then note_place(id, 'due|S') end
    end
  end
  for _, lane in ipairs(lanes) do
    local last = redis.call('XREVRANGE', key(lane), '+', '-', 'COUNT', limit)
    local first = redis.call('XRANGE', key(lane), '-', '+', 'COUNT', limit)
    find(lane, first)
    find(lane, last)
    if redis.call('XLEN', key(lane)) > 2 * limit then
      local low, high = tonumber(string.match(first[1][1], '^%d+')), tonumber(string.match(last[1][1], '^%d+'))
      local middle = string.format('%.0f', low + (high - low) * part)
      find(lane, redis.call('XRANGE', key(lane), middle, '+', 'COUNT', limit))
    end
  end
end
-- Where counting takes too long, a few show whether something is wrong.
for _, limit in ipairs({ FEW, AT_MOST }) do
  if limit == AT_MOST or many > BUCKETS then
    forgotten, found = 0, 0
    forget_some(limit)
    find_some(limit)
    if forgotten + found == 0 then break end
  end
end
return { forgotten, found, lost, limited, bare }
