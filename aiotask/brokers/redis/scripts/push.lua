-- KEYS: prefix.  ARGV: client, sequence, how many queues have a limit (-1: none, and the batch before was sent along); where
-- some have: queue, limit…, whether to name the oldest ('1' or ''), how many jobs to drop first, and per job to drop: lane,
-- entry, id, result TTL (ms), reply, outcome. Then groups of jobs that have the first four in common: lane, delay (s), eta
-- (Unix s or ''), custom ('1' or ''), how many, and per job: id, sealed.
-- Returns 1 when the batch is in, 0 when it was a repeat, -1 when the one that was sent along before it is not in. If some had
-- no room: how many, their ids, and of the jobs that wait longest: lane, entry, sealed, meta. Everything is checked before the
-- first write; the first write is one that a full server refuses.
-- Needs: core index due lanes results
local session, sequence, limited = key('client:' .. ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local room, victims, oldest = {}, {}, false
local first = 4
if limited > 0 then
  for n = 4, 2 + 2 * limited, 2 do room[ARGV[n]] = tonumber(ARGV[n + 1]) end
  first = 4 + 2 * limited
  oldest = ARGV[first] == '1'
  local drops = tonumber(ARGV[first + 1])
  first = first + 2
  for _ = 1, drops do
    victims[#victims + 1] = { unpack(ARGV, first, first + 5) }
    first = first + 6
  end
end

local function waiting(queue)
  local count = 0
  for kind in string.gmatch(LANE_KINDS, '.') do
    local lane = 'q:' .. queue .. ':' .. kind
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

-- What had no room, by queue and in its order.
local full, lacking = {}, {}
local function answer()
  if #full == 0 then return 1 end
  local reply = { #full, unpack(full) }
  if oldest then
    for queue, count in pairs(lacking) do
      for _, part in ipairs(longest(queue, count)) do reply[#reply + 1] = part end
    end
  end
  return reply
end

local last, refused = string.match(redis.call('GET', session) or '', '^(%d+)(.*)$')
if last and sequence <= tonumber(last) then
  -- A repeat is answered as it was.
  if sequence == tonumber(last) then
    for id in string.gmatch(refused, '%S+') do full[#full + 1] = id end
  end
  return #full == 0 and 0 or answer()
end
if limited < 0 and not (last and sequence == tonumber(last) + 1) then return -1 end
-- Where the index will have them, by bucket: fields and places.
local lanes, index, buckets, fields, chosen, some_later = {}, {}, {}, {}, {}, false
local n = first
while n <= #ARGV do
  local count = tonumber(ARGV[n + 4])
  lanes[ARGV[n]] = key(ARGV[n])
  if ARGV[n + 1] ~= '0' and ARGV[n + 1] ~= '0.0' or ARGV[n + 2] ~= '' then some_later = true end
  for job = n + 5, n + 3 + 2 * count, 2 do
    local bucket, field = bucket_of(ARGV[job])
    buckets[job], fields[job] = bucket, field
    if ARGV[n + 3] == '1' then chosen[#chosen + 1] = job end
    if not index[bucket] then index[bucket] = {} end
  end
  n = n + 5 + 2 * count
end
for _, stream in pairs(lanes) do redis.call('XLEN', stream) end
local is_first = redis.call('SCARD', key('index')) == 0 and redis.call('EXISTS', key('queues')) == 0
local new_buckets = {}
for bucket in pairs(index) do
  if redis.call('HLEN', key('index:' .. bucket)) == 0 then new_buckets[#new_buckets + 1] = bucket end
end
if some_later then
  redis.call('ZCARD', key('due'))
  redis.call('HLEN', key('held'))
end
for queue in pairs(room) do waiting(queue) end
redis.call('XADD', key('r:'), 'NOMKSTREAM', '*', 'j', '')  -- may this user, is there room: of a key that never exists
if some_later then redis.call('ZADD', key('r:'), 'XX', 0, ' ') end
if #victims > 0 then check_ending() end
local queues, seen = {}, {}
for lane in pairs(lanes) do
  local queue = string.match(lane, '^q:(.*):%d$')
  if not seen[queue] then
    seen[queue] = true
    queues[#queues + 1] = queue
  end
end
if #queues > 0 then redis.call('SADD', key('queues'), unpack(queues)) end
if #new_buckets > 0 then redis.call('SADD', key('index'), unpack(new_buckets)) end
if is_first then redis.call('SADD', key('index'), '.') end
redis.call('SET', session, ARGV[2], 'EX', CLIENT_TTL)
for _, victim in ipairs(victims) do
  local lane, entry, id, ttl, reply, outcome = unpack(victim)
  local claims = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
  local found, sealed, meta = read(lane, entry)
  if found == id and not (type(claims) == 'table' and not claims.err and #claims > 0) then
    redis.call('XDEL', key(lane), entry)
    conclude(id, outcome, 'CANCELLED', ttl, reply, sealed, meta)
  end
end
-- Before the index of what is new is written: an id may come again.
if #victims > 0 then wind_up() end
for queue, limit in pairs(room) do room[queue] = limit - waiting(queue) end
-- Which of the ids that the sender chose may be known: a command or two for all of them.
local stored, indexed = false, {}
if #chosen > 0 then
  local results, members = {}, {}
  for n, job in ipairs(chosen) do
    local bucket = buckets[job]
    results[n] = key('r:' .. ARGV[job])
    if not members[bucket] then members[bucket] = {} end
    table.insert(members[bucket], job)
  end
  stored = redis.call('EXISTS', unpack(results)) > 0
  for bucket, jobs in pairs(members) do
    local names = {}
    for n, job in ipairs(jobs) do names[n] = fields[job] end
    for n, place in ipairs(redis.call('HMGET', key('index:' .. bucket), unpack(names))) do
      if place then indexed[ARGV[jobs[n]]] = true end
    end
  end
end
local at = some_later and now() or 0
local fresh = {}
n = first
while n <= #ARGV do
  local lane, custom, count = ARGV[n], ARGV[n + 3] == '1', tonumber(ARGV[n + 4])
  local stream = lanes[lane]
  local due = some_later and (ARGV[n + 2] == '' and at + tonumber(ARGV[n + 1]) or tonumber(ARGV[n + 2])) or 0
  local queue = limited > 0 and string.match(lane, '^q:(.*):%d$') or ''
  for job = n + 5, n + 3 + 2 * count, 2 do
    local id, sealed = ARGV[job], ARGV[job + 1]
    local known = custom and (fresh[id] or (stored and redis.call('EXISTS', key('r:' .. id)) == 1)
      or (indexed[id] and is_unfinished(id)))
    if not known then
      if due > at then
        fresh[id] = true
        hold(ARGV[n + 2] == '' and 'S' or 'E', due, lane, id, sealed, '')
      elseif room[queue] and room[queue] <= 0 then
        full[#full + 1] = id
        lacking[queue] = (lacking[queue] or 0) + 1
      else
        fresh[id] = true
        if room[queue] then room[queue] = room[queue] - 1 end
        local places = index[buckets[job]]
        local size = #places
        places[size + 1], places[size + 2] = fields[job], lane .. '|' .. redis.call('XADD', stream, '*', 'j', sealed)
      end
    end
  end
  n = n + 5 + 2 * count
end
for bucket, places in pairs(index) do
  local name = key('index:' .. bucket)
  if #places > 0 then redis.call('HSET', name, unpack(places)) end
  -- All that was in it may have made room, or nothing came into it.
  if #victims > 0 or #places == 0 then
    redis.call(redis.call('EXISTS', name) == 1 and 'SADD' or 'SREM', key('index'), bucket)
  end
end
if #full > 0 then redis.call('SET', session, ARGV[2] .. ' ' .. table.concat(full, ' '), 'EX', CLIENT_TTL) end
return answer()
