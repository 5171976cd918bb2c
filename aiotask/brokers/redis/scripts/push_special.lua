-- A batch of which some jobs are not plain, or whose queues have limits of pending jobs; ``push.lua`` is for all others.
-- KEYS: prefix.  ARGV: client, sequence, how many queues have a limit (-1: none, and the batch before was sent along); where
-- some have: queue, limit…, whether to name the oldest ('1' or ''), how many jobs to drop first, and per job to drop: lane,
-- entry, id, result TTL (ms), reply, outcome. Then groups of jobs that have the first five in common: lane (or target in a line), delay (s), eta
-- (Unix s or ''), custom ('1' or ''), what is special ('' or msgpack of a map, ``broker.Special``), how many, and per job: id,
-- sealed.
-- Returns 1 when the batch is in, 0 when it was a repeat, -1 when the one that was sent along before it is not in. If some had
-- no room, or are unique and were not accepted: how many had none, their ids; of how many of the others this is said: id, that
-- of the job that it is, or behind a '!' that because of which it was refused; and of the jobs that wait longest: lane, entry,
-- sealed, meta. Everything is checked before the first write; the first write is one that a full server refuses.
-- The lines between "unique: begin" and "unique: end" are those of ``push_unique``, for batches with unique jobs: other batches
-- do without them.
-- Needs: core index lanes results repair special unique
local session, sequence, limited = key('client:' .. ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
-- A relay that died may send its batch again much later. The second batch of an outbox says that the first is deleted.
local is_relayed = sequence == 1 and string.find(ARGV[1], OUTBOX_CLIENT, 1, true) == 1
local remembered = is_relayed and OUTBOX_TTL or CLIENT_TTL
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

-- What had no room, by queue and in its order; and what is another job, as ``lib/unique.lua`` finds it.
local full, lacking, known = {}, {}, {}
local function answer()
  if #full + #known == 0 then return 1 end
  local reply = { #full, unpack(full) }
  reply[#reply + 1] = #known / 2
  for _, part in ipairs(known) do reply[#reply + 1] = part end
  if oldest then
    for queue, count in pairs(lacking) do
      for _, part in ipairs(longest(queue, count)) do reply[#reply + 1] = part end
    end
  end
  return reply
end

-- 1. A repeat is answered as it was.
local last, refused = string.match(redis.call('GET', session) or '', '^(%d+)(.*)$')
if last and sequence <= tonumber(last) then
  if sequence == tonumber(last) then
    for id in string.gmatch(refused, '%S+') do
      local new, other = string.match(id, '^(.*)|(.*)$')
      if new then known[#known + 1], known[#known + 2] = new, other else full[#full + 1] = id end
    end
  end
  return #full + #known == 0 and 0 or answer()
end
if limited < 0 and not (last and sequence == tonumber(last) + 1) then return -1 end

-- 2. Where they go, and where the index will have them: buckets and fields by position in ARGV.
local lanes, checked, buckets, fields, chosen, some_later, specials = {}, {}, {}, {}, {}, false, {}
local n = first
while n <= #ARGV do
  local count = tonumber(ARGV[n + 5])
  lanes[ARGV[n]] = key(ARGV[n])
  if ARGV[n + 1] ~= '0' and ARGV[n + 1] ~= '0.0' or ARGV[n + 2] ~= '' then some_later = true end
  if ARGV[n + 4] ~= '' then
    specials[n] = cmsgpack.unpack(ARGV[n + 4])
    -- unique: begin
    -- What takes the place of another job takes its time too.
    if specials[n].unique then some_later = true end
    -- unique: end
  end
  for job = n + 6, n + 4 + 2 * count, 2 do
    local bucket, field = bucket_of(ARGV[job])
    buckets[job], fields[job] = bucket, field
    if ARGV[n + 3] == '1' then chosen[#chosen + 1] = job end
    checked[bucket] = true
  end
  n = n + 6 + 2 * count
end

-- 3. Whether all of it can be written.
check_push(lanes, some_later)
local is_first = redis.call('SCARD', key('index')) == 0 and redis.call('EXISTS', key('queues')) == 0
local new_buckets = {}
for bucket in pairs(checked) do
  if redis.call('HLEN', key('index:' .. bucket)) == 0 then new_buckets[#new_buckets + 1] = bucket end
end
for queue in pairs(room) do waiting(queue) end
if next(specials) then redis.call('ZCARD', key('expiring')) end
local told = false
-- unique: begin
redis.call('HLEN', key('unique'))
told = open_all_endings()
-- unique: end
local endings = #victims > 0 and open_all_endings()

-- 4. The first writes.
local queues, seen = {}, {}
for lane in pairs(lanes) do
  local queue = string.match(lane, '^q:(.*):%d$') or string.match(lane, '^l:([^:]+)')
  if not seen[queue] then
    seen[queue] = true
    queues[#queues + 1] = queue
  end
end
if #queues > 0 then redis.call('SADD', key('queues'), unpack(queues)) end
if #new_buckets > 0 then redis.call('SADD', key('index'), unpack(new_buckets)) end
if is_first then redis.call('SADD', key('index'), '.') end
redis.call('SET', session, ARGV[2], 'EX', remembered)

-- 5. Jobs that make room end before the index of what is new is written: an id may come again.
for _, victim in ipairs(victims) do
  local lane, entry, id, ttl, reply, outcome = unpack(victim)
  local claims = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
  local found, sealed, meta = read(lane, entry)
  if found == id and not (type(claims) == 'table' and not claims.err and #claims > 0) then
    redis.call('XDEL', key(lane), entry)
    conclude(endings, id, outcome, counter_of(lane, 'CANCELLED'), ttl, reply, sealed, meta)
    -- The graph of a node hears of it.
    local node = redis.pcall('HGET', key('nodes'), id)
    if type(node) == 'string' then
      local number, gid = string.match(node, '^(%d+)|(.*)$')
      redis.call('HDEL', key('nodes'), id)
      local users = number and redis.pcall('HGET', key('g:' .. gid), 'u' .. number)
      if type(users) == 'string' and users ~= '0' then redis.call('SET', key('r:' .. id), outcome) end
      redis.pcall('RPUSH', key('agenda'), cmsgpack.pack({ 'e', number, gid, 'c', sealed }))
    end
  end
end
if endings then close_endings(endings) end
for queue, limit in pairs(room) do room[queue] = limit - waiting(queue) end

-- 6. Which of the ids that the sender chose may be known: a command or two for all of them.
local stored, indexed, fresh = false, nil, nil
if #chosen > 0 then
  indexed, fresh = {}, {}
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
  -- A node that waits for others is not in the index.
  if redis.call('EXISTS', key('nodes')) == 1 then
    for _, job in ipairs(chosen) do
      local node = redis.pcall('HGET', key('nodes'), ARGV[job])
      local gid = type(node) == 'string' and string.match(node, '|(.*)$')
      if gid and type(redis.pcall('HGET', key('g:' .. gid), 'state')) == 'string' then fresh[ARGV[job]] = true end
    end
  end
end

-- 7. Those that are not known and have room get their places.
local at, groups, all = some_later and now() or 0, {}, true
-- unique: begin
local meet = open_unique(told, at, groups, known, ARGV)
-- unique: end
n = first
while n <= #ARGV do
  local lane, custom, count = ARGV[n], ARGV[n + 3] == '1', tonumber(ARGV[n + 5])
  local from, to, due, kind = n + 6, n + 4 + 2 * count, nil, nil
  local expires = specials[n] and specials[n].expires
  if expires == 0 then expires = nil end
  if some_later then
    due, kind = tonumber(ARGV[n + 2]), 'E'
    if not due then due, kind = at + tonumber(ARGV[n + 1]), 'S' end
    if due <= at then due = nil end
  end
  local queue = limited > 0 and not due and (string.match(lane, '^q:(.*):%d$') or string.match(lane, '^l:([^:]+)')) or ''
  -- unique: begin
  if specials[n] and specials[n].unique then
    queue = string.match(lane, '^q:(.*):%d$') or string.match(lane, '^l:([^:]+)')
    local call = { rule = specials[n].unique, lane = lane, queue = queue, due = due, kind = kind, expires = expires,
      custom = custom, room = room[queue] or math.huge, says_when = ARGV[n + 2] ~= '' or tonumber(ARGV[n + 1]) > 0 }
    for job = from, to, 2 do
      if not meet(call, job) then
        full[#full + 1] = ARGV[job]
        lacking[queue] = (lacking[queue] or 0) + 1
      end
    end
    if room[queue] then room[queue] = call.room end
    all, custom, queue, to = false, false, '', 0
  end
  -- unique: end
  if custom or room[queue] then
    for job = from, to, 2 do
      local id, is_taken = ARGV[job], true
      if custom and (fresh[id] or (stored and redis.call('EXISTS', key('r:' .. id)) == 1)
        or (indexed[id] and is_unfinished(id))) then is_taken = false
      elseif room[queue] and room[queue] <= 0 then
        is_taken = false
        full[#full + 1] = id
        lacking[queue] = (lacking[queue] or 0) + 1
      else
        if room[queue] then room[queue] = room[queue] - 1 end
        if custom then fresh[id] = true end
      end
      if not is_taken then
        all = false
        if job > from then groups[#groups + 1] = { lane, from, job - 2, '', due, kind, expires } end
        from = job + 2
      end
    end
  end
  if from <= to then groups[#groups + 1] = { lane, from, to, '', due, kind, expires } end
  n = n + 6 + 2 * count
end
local index = put(groups, ARGV, buckets, fields)
if next(specials) then
  local time, expiring = now(), {}
  for _, group in ipairs(groups) do
    local expires = group[7]
    for job = group[2], expires and group[3] or 0, 2 do
      expiring[#expiring + 1], expiring[#expiring + 2] = expires < 0 and time - expires or expires, ARGV[job]
    end
  end
  if #expiring > 0 then redis.call('ZADD', key('expiring'), unpack(expiring)) end
end

-- 8. Of a bucket nothing may have come into, or all that was in it may have made room.
if endings or not all then
  for bucket in pairs(checked) do
    if endings or told or not index[bucket] then
      local exists = redis.call('EXISTS', key('index:' .. bucket)) == 1
      redis.call(exists and 'SADD' or 'SREM', key('index'), bucket)
    end
  end
end
if told then close_endings(told) end
if #full + #known > 0 then
  local said = { ARGV[2], unpack(full) }
  for n = 1, #known, 2 do said[#said + 1] = known[n] .. '|' .. known[n + 1] end
  redis.call('SET', session, table.concat(said, ' '), 'EX', remembered)
end
return answer()
