-- KEYS: prefix.  ARGV: incarnation, epoch, how many jobs at most, bytes, whether the caller has heard a bell
-- ('1' or ''), number of queues, queues, lanes in the order of the claim…
-- Admits limited jobs out of their lines: limits take turns, and keys of a limit take turns. Returns liveness, seconds until a
-- rate admits the next one ('': no rate holds one back), how often pauses have changed ('' where none stands), then groups of
-- deliveries as claim.lua does.
-- Needs: core due index lanes limits
local ROUNDS, KEYS_A_ROUND = 40, 50
local incarnation = ARGV[1]
local reply = { liveness(incarnation, ARGV[2]), '', '' }
if reply[1] ~= 1 then return reply end
local left, room, queues = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
allow_writes()
local shared = lines()
local seconds = now()
local clock, rounds = seconds * 1e6, 0
shared.wake(seconds)
for n = 1, queues do
  -- What is left open rings the bell again. The caller has nothing more to do with the entry that it read.
  local bell = key('q:' .. ARGV[6 + n] .. ':b')
  if ARGV[5] == '1' then redis.pcall('XGROUP', 'DELCONSUMER', bell, GROUP, incarnation) end
  local rung = redis.pcall('XLEN', bell)
  if left > 0 and type(rung) == 'number' and rung > 0 then redis.call('XTRIM', bell, 'MAXLEN', 0) end
end

-- What a rate says: how many may start, what is kept of it, and when the first may start. Without a rate: any number.
local function look_at(name, interval, burst, is_held)
  if not interval and not is_held then return math.huge end
  local tat, till, since = shared.times_of(name)
  if till > clock and clock > since - 1e6 then return 0, tat, till end
  if not interval then return math.huge end
  local starts, cut, first = shared.gcra(tat, clock, interval, burst)
  -- What is further ahead than a burst was kept by other numbers, or before the clock was set back. It is kept as it was cut:
  -- each look would cut it anew otherwise, and nothing would start before the old time.
  if starts <= 0 and cut < tat then shared.keep_times(name, clock, cut, till, since) end
  return starts, cut, first
end

-- From then on, the clock is looked at.
local heeded = false
local function hold_back(line, till)
  if not heeded then heed(seconds); heeded = true end
  redis.call('ZADD', key('wake'), till / 1e6, line)
end

local function keep(name, tat, is_held)
  local _, till, since = 0, 0, 0
  if is_held then _, till, since = shared.times_of(name) end
  shared.keep_times(name, clock, tat, till, since)
end

-- One round of a limit at a place: one job of each key that has its turn, or many where only one has. Returns ids, their
-- places in their lines, and whether the limit is done with here for now.
local function admit(at, limit, known, bite)
  local ring, ids, places, stay, leave = key('ring:' .. at .. ':' .. limit), {}, {}, {}, {}
  local each, is_held = tonumber(known[2] or 0), (tonumber(known[8] or 0)) > clock
  local interval, each_interval = tonumber(known[3] or 0), tonumber(known[5] or 0)
  if interval <= 0 then interval = nil end
  if each_interval <= 0 then each_interval = nil end
  local keys = redis.call('ZRANGE', ring, 0, bite - 1)
  local many = #keys == 1 and bite or 1
  local allowed, tat, till = look_at('tat:' .. limit, interval, tonumber(known[4] or 1), false)
  local started, is_shut = 0, false
  for _, by in ipairs(keys) do
    if allowed - started <= 0 then
      is_shut = true
      hold_back('l:' .. at .. ':' .. limit .. ':', till > 0 and till or tat + interval * (started + 1 - tonumber(known[4] or 1)))
      break
    end
    local line, fit = 'l:' .. at .. ':' .. limit .. ':' .. by, math.min(many, allowed - started)
    if each > 0 then fit = math.min(fit, each - redis.call('SCARD', key('slots:' .. limit .. ':' .. by))) end
    local key_tat, key_till
    -- Both rates are asked before either gives a token.
    if fit > 0 then
      local key_free
      key_free, key_tat, key_till = look_at('tat:' .. limit .. ':' .. by, each_interval, tonumber(known[6] or 1), is_held)
      if key_free <= 0 then hold_back(line, key_till) end
      fit = math.min(fit, key_free)
    end
    local first = fit > 0 and redis.call('ZPOPMIN', key(line), fit) or {}
    local count = #first / 2
    if count > 0 then
      local mine = {}
      for n = 1, count do
        mine[n] = first[2 * n - 1]
        ids[#ids + 1], places[#places + 1] = mine[n], string.format('%s|%.0f', line, tonumber(first[2 * n]))
      end
      if each > 0 then redis.call('SADD', key('slots:' .. limit .. ':' .. by), unpack(mine)) end
      if each_interval then keep('tat:' .. limit .. ':' .. by, key_tat + each_interval * count, is_held) end
      started = started + count
    end
    if fit > 0 and redis.call('EXISTS', key(line)) == 1 then stay[#stay + 1] = by else leave[#leave + 1] = by end
  end
  if interval and started > 0 then keep('tat:' .. limit, tat + interval * started, false) end
  if #leave > 0 then redis.call('ZREM', ring, unpack(leave)) end
  if #stay > 0 then
    local turn, scored = shared.count_on(limit, #stay), {}
    for n = 1, #stay do scored[2 * n - 1], scored[2 * n] = turn - #stay + n, stay[n] end
    redis.call('ZADD', ring, unpack(scored))
  end
  if #ids > 0 then
    -- Also where only each key is limited: of slots that are left over, the audit learns here.
    if each > 0 or tonumber(known[1] or 0) > 0 then redis.call('SADD', key('slots:' .. limit), unpack(ids)) end
    local admitted = {}
    for n = 1, #ids do admitted[2 * n - 1], admitted[2 * n] = ids[n], places[n] end
    redis.call('HSET', key('admitted'), unpack(admitted))
  end
  return ids, is_shut or #keys == 0
end

-- Into the lane of admitted jobs; what has lost its envelope is no job any more.
local function move(lane, ids, index)
  local packed, lost = redis.call('HMGET', key('lined'), unpack(ids)), {}
  redis.call('HDEL', key('lined'), unpack(ids))
  for n = 1, #ids do
    if not packed[n] or #packed[n] < 2 then lost[#lost + 1] = ids[n]
    else
      local size, entry = struct.unpack('>I2', packed[n]), nil
      local sealed = string.sub(packed[n], 3 + size)
      if size == 0 then entry = redis.call('XADD', key(lane), '*', 'j', sealed)
      else entry = redis.call('XADD', key(lane), '*', 'j', sealed, 'm', string.sub(packed[n], 3, 2 + size)) end
      local bucket, field = bucket_of(ids[n])
      local places = index[bucket]
      if not places then
        places = {}
        index[bucket] = places
      end
      places[#places + 1], places[#places + 2] = field, lane .. '|' .. entry
      room = room - #sealed
    end
  end
  if #lost > 0 then
    leave_index(lost)
    shared.let_go(lost)
  end
  return #ids - #lost
end

local function draw(at)
  local open, queue = key('open:' .. at), string.match(at, '^(.*):%d$')
  local lane, count, gone, index = 'q:' .. queue .. ':g', 0, {}, {}
  while left > 0 and room > 0 and rounds < ROUNDS do
    rounds = rounds + 1
    local limit = redis.call('ZRANGE', open, 0, 0)[1]
    if not limit then break end
    local known = redis.call('HMGET', key('limit:' .. limit), 'max', 'each', 'interval', 'burst', 'each_interval', 'each_burst',
      'known', 'held')
    local bite, max = math.min(left, KEYS_A_ROUND), tonumber(known[1] or 0)
    if max > 0 then bite = math.min(bite, max - redis.call('SCARD', key('slots:' .. limit))) end
    local ids, is_done = {}, true
    -- What no worker has declared admits nothing.
    if bite > 0 and known[7] then ids, is_done = admit(at, limit, known, bite) end
    if #ids > 0 then
      local moved = move(lane, ids, index)
      count, left, gone[limit] = count + moved, left - moved, (gone[limit] or 0) + #ids
    end
    if is_done or redis.call('EXISTS', key('ring:' .. at .. ':' .. limit)) == 0 then redis.call('ZREM', open, limit)
    else
      local last = redis.call('ZREVRANGE', open, 0, 0, 'WITHSCORES')
      redis.call('ZADD', open, tonumber(last[2]) + 1, limit)
    end
  end
  write_index(index)
  if next(gone) then shared.count_off(queue, gone) end
  if count > 0 then
    -- A few more: others are there only if something was put into the lane by hand.
    local entries = take(lane, incarnation, count + 10)
    local n = #reply
    reply[n + 1], reply[n + 2] = lane, #entries
    n = n + 2
    for e = 1, #entries do
      local sealed, meta = fields_of(entries[e])
      reply[n + 1], reply[n + 2], reply[n + 3] = entries[e][1], sealed, meta
      n = n + 3
    end
  end
  if redis.call('EXISTS', open) == 0 then redis.call('SREM', key('open'), at)
  else shared.ring_bell(queue) end
end

-- Nothing of a paused queue is admitted, and nothing where a pause is about to end and jobs go back into their lines.
local has_pauses, resuming = redis.call('EXISTS', key('paused'), key('resuming')) > 0, {}
if has_pauses then
  reply[3] = redis.pcall('HGET', key('counts'), 'pauses')
  if type(reply[3]) ~= 'string' then reply[3] = '' end
  for _, mark in ipairs(redis.pcall('HKEYS', key('resuming'))) do resuming[string.match(mark, '([^@]*)$')] = true end
end
local function is_paused(queue)
  local found = has_pauses and redis.pcall('HMGET', key('paused'), 'all', 'queue:' .. queue)
  return found and (found[1] or found[2] or resuming[queue]) and true
end

local open_places = {}
for _, at in ipairs(redis.call('SMEMBERS', key('open'))) do
  if not is_paused(string.match(at, '^(.*):%d$')) then open_places['q:' .. at] = at end
end
for n = 7 + queues, #ARGV do
  if left <= 0 or room <= 0 then break end
  if open_places[ARGV[n]] then draw(open_places[ARGV[n]]) end
end
-- Of what was open and had no room here, another worker hears.
for n = 7 + queues, #ARGV do
  local at = open_places[ARGV[n]]
  if at and left <= 0 and redis.call('SISMEMBER', key('open'), at) == 1 then shared.ring_bell(string.match(at, '^(.*):%d$')) end
end
local until_next = shared.wake(seconds)
if until_next then reply[2] = string.format('%.6f', until_next) end
return reply
