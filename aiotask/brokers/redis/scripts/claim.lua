-- KEYS: prefix.  ARGV: incarnation, epoch, limit, bytes, alone ('1' or ''), number of queues, queues, lanes…
-- Returns liveness, a sum (1: become idle for a suspect; 2: a queue of these is paused; 4: a limit may admit something), the
-- server's time (ms), then groups of deliveries: lane, how many, and per delivery: entry, sealed, meta.
-- Needs: core lanes
local incarnation = ARGV[1]
local clock = redis.call('TIME')
local reply = { liveness(incarnation, ARGV[2]), 0, clock[1] * 1000 + math.floor(clock[2] / 1000) }
if reply[1] ~= 1 then return reply end
local left, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local queues = tonumber(ARGV[6])

-- One command where there are neither limits nor pauses nor suspects. Nothing of a paused queue is claimed.
local suspects, paused = {}, nil
for n = 1, queues do suspects[n] = key('q:' .. ARGV[6 + n] .. ':s') end
local is_plain = redis.call('EXISTS', key('open'), key('paused'), unpack(suspects)) == 0
if not is_plain and redis.call('EXISTS', key('open'), key('paused')) > 0 then
  paused = {}
  local names, is_paused = { 'all' }, 0
  for n = 1, queues do names[n + 1] = 'queue:' .. ARGV[6 + n] end
  local found = redis.pcall('HMGET', key('paused'), unpack(names))
  if not found.err then
    for n = 2, #names do
      if found[n] then paused[ARGV[5 + n]], is_paused = true, 2 end
    end
    if found[1] then return { reply[1], 2, reply[3] } end
  end
  reply[2] = is_paused + (redis.call('EXISTS', key('open')) == 1 and 4 or 0)
end

-- How many to ask for is only known from the size of those that came: the first read brings one.
local came, bytes = 0, 0
local function drain(lane)
  -- A read of an empty lane costs five times as much.
  if redis.pcall('XLEN', key(lane)) == 0 then return end
  if paused and paused[string.match(lane, '^q:(.*):%w$') or ''] then return end
  while left > 0 and room > 0 do
    local fit = came == 0 and 1 or math.max(1, math.floor(room * came / bytes))
    local asked = math.min(left, fit, 50)
    local entries = take(lane, incarnation, asked)
    local at = #reply
    if #entries > 0 then
      reply[at + 1], reply[at + 2] = lane, #entries
      at = at + 2
    end
    for n = 1, #entries do
      local sealed, meta = fields_of(entries[n])
      reply[at + 1], reply[at + 2], reply[at + 3] = entries[n][1], sealed, meta
      at = at + 3
      room = room - #sealed
      bytes = bytes + #sealed + 1
    end
    came = came + #entries
    left = left - #entries
    if #entries < asked then return end
  end
end

if ARGV[5] == '1' then
  left = 1
  for n = 1, queues do drain('q:' .. ARGV[6 + n] .. ':s') end
  if #reply > 3 and redis.call('GET', key('volunteer')) == incarnation then redis.call('DEL', key('volunteer')) end
  return reply
end
for n = 1, is_plain and 0 or queues do
  local all = redis.pcall('XLEN', suspects[n])
  if type(all) ~= 'table' and all > 0 and not (paused and paused[ARGV[6 + n]]) then
    local pending = redis.pcall('XPENDING', suspects[n], GROUP)
    local claimed = 0
    if not pending.err then claimed = pending[1] end
    if all > claimed then
      allow_writes()
      -- One that has died meanwhile never comes back for it.
      local chosen = redis.call('GET', key('volunteer'))
      if chosen and redis.call('HEXISTS', key('live'), chosen) == 0 then redis.call('DEL', key('volunteer')) end
      redis.call('SET', key('volunteer'), incarnation, 'NX', 'EX', VOLUNTEER_TTL)
      if redis.call('GET', key('volunteer')) == incarnation then reply[2] = reply[2] + 1; return reply end
      break
    end
  end
end
for n = 7 + queues, #ARGV do
  if left <= 0 or room <= 0 then break end
  drain(ARGV[n])
end
return reply
