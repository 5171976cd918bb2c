-- KEYS: prefix.  ARGV: per schedule: name, the time that it stands at, the seal of its value, the next time, the next moment, the
-- last moment that is run, how many jobs; per job: lane (or target in a line), what is special (as in push.lua), whether its id was chosen ('1' or ''),
-- id, sealed.
-- Returns per schedule 1, or 0: another call was quicker, or the schedule has changed. The first write is one that a full server
-- refuses: then nothing has moved.
-- Needs: core index lanes repair results schedules special unique

-- 1. Who is to move.
local at, moving, lanes, reply = now(), {}, {}, {}
local names, starts = {}, {}
local n = 1
while n <= #ARGV do
  names[#names + 1], starts[#starts + 1] = ARGV[n], n
  n = n + 7 + 5 * ARGV[n + 6]
end
local scores = redis.call('ZMSCORE', key('fires'), unpack(names))
for number, packed in ipairs(redis.call('HMGET', key('schedules'), unpack(names))) do
  local n, name, score, s = starts[number], names[number], scores[number], unpacked_schedule(packed)
  local stands, count = tonumber(ARGV[n + 1]), tonumber(ARGV[n + 6])
  local is_same = score and s and tonumber(score) == stands and string.sub(s.sealed, 1, SEAL_BYTES) == ARGV[n + 2]
  if is_same and (count == 0 or stands <= at) then
    moving[#moving + 1] = { n, name, s, count }
    for job = n + 7, n + 2 + 5 * count, 5 do lanes[ARGV[job]] = key(ARGV[job]) end
    reply[#reply + 1] = 1
  else reply[#reply + 1] = 0 end
end
if #moving == 0 then return reply end

-- 2. Whether it can be written.
check_placing()
check_push(lanes, false)
redis.call('ZCARD', key('expiring'))
redis.call('HLEN', key('unique'))
local told = open_all_endings()
if redis.call('SCARD', key('index')) == 0 and redis.call('EXISTS', key('queues')) == 0 then
  redis.call('SADD', key('index'), '.')
end

-- 3. The next runs, and the jobs of these.
local function is_known(id)
  return redis.call('EXISTS', key('r:' .. id)) == 1 or redis.call('HEXISTS', key('nodes'), id) == 1
end

-- Ids of this call: they are not in the index yet.
local groups, known, seen, meet = {}, {}, {}, nil
local queues = {}
local function place(lane, is_custom, special, job)
  local id, queue = ARGV[job], string.match(lane, '^q:(.*):%d$') or string.match(lane, '^l:([^:]+)')
  if not queues[queue] then
    queues[queue] = redis.call('SADD', key('queues'), queue)
  end
  if special.unique then
    meet = meet or open_unique(told, at, groups, known, ARGV)
    meet({ rule = special.unique, lane = lane, queue = string.match(lane, '^%l:([^:]+)'), expires = special.expires,
      custom = is_custom, room = math.huge }, job)
  elseif not seen[id] and not is_unfinished(id) and not (is_custom and is_known(id)) then
    seen[id] = true
    groups[#groups + 1] = { lane, job, job, '', nil, nil, special.expires }
  end
end

local times, values = {}, {}
for _, each in ipairs(moving) do
  local n, name, s, count = unpack(each)
  s.moment, s.last, s.runs = tonumber(ARGV[n + 4]), tonumber(ARGV[n + 5]), (s.runs + count) % 4294967296
  times[#times + 1], times[#times + 2] = ARGV[n + 3], name
  values[#values + 1], values[#values + 2] = name, packed_schedule(s)
end
redis.call('ZADD', key('fires'), unpack(times))
redis.call('HSET', key('schedules'), unpack(values))
for _, each in ipairs(moving) do
  local n, _, _, count = unpack(each)
  for job = n + 7, n + 2 + 5 * count, 5 do
    place(ARGV[job], ARGV[job + 2] == '1', ARGV[job + 1] ~= '' and cmsgpack.unpack(ARGV[job + 1]) or {}, job + 3)
  end
end
put(groups, ARGV)
for _, group in ipairs(groups) do
  local expires = group[7]
  -- A job that gave way to a later one of this call is in no group.
  if expires and expires ~= 0 and group[2] <= group[3] then
    redis.call('ZADD', key('expiring'), expires < 0 and at - expires or expires, ARGV[group[2]])
  end
end
close_endings(told)
return reply
