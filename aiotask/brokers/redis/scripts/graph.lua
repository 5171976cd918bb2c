-- KEYS: prefix.  ARGV: client, sequence (0: not counted), graph, first, token, number of the part, number of all parts ('0': this
-- is not the last), nodes added, highest number, result TTL (ms), custom ('1' or ''; and where the root is unique until it has
-- ended: what a job is that another one has the key of, and for how many ms that is kept), of the delivery that the nodes stand
-- for: lane ('' none), entry, id, old number, new number; then how many fields, field, value…; how many members, id, number…; how
-- many queues, queue…; and per queue with a limit: queue, sources, limit.
-- Stages a part of a graph. The last one accepts the graph if all parts are there: what waits for nothing then comes to its lane.
-- Returns 1 (done), 0 (accepted before), -1 (parts are missing), -2 (the delivery is not yours, or a cancel has ended its job),
-- -3 (the id is known, or another job has the key) or -4 (no room). Everything is checked before the first write, which a full
-- server refuses.
-- Needs: core nodes index lanes history repair results damage graphs special
local sequence, gid, first, token = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local part, parts, is_custom = tonumber(ARGV[6]), tonumber(ARGV[7]), string.byte(ARGV[11]) == 49
local name, session, mark = key('g:' .. gid), key('client:' .. ARGV[1]), 'x' .. first
local lane, entry, job, old, new = unpack(ARGV, 12, 16)

local function is_known()
  return redis.call('EXISTS', RESULT .. gid) == 1 or waiting_node(gid) ~= nil or is_unfinished(gid)
end

-- 1. A repeat; what is staged already; whether this part belongs to it.
if parts > 0 and sequence > 0 then
  local last = string.match(redis.call('GET', session) or '', '^%d+')
  if last and sequence <= tonumber(last) then return 0 end
end
local known = redis.call('HMGET', name, 'state', mark, 'p' .. first)
local state, staging = known[1], known[2]
local makes_room = false
if first == '0' then
  -- The first part begins anew where another staging is; any part begins where there is none.
  local begins = staging ~= token and (part == 1 or not staging)
  if state then
    if not is_custom then return 0 end
    if not begins or state ~= 'e' or is_known() then return -3 end
  elseif not begins and staging ~= token then return -1 end
  if is_custom and (begins or parts > 0) and is_known() then return -3 end
  makes_room = begins and (state or staging)
  if begins then state = false end
elseif not staging then
  -- Numbers of a growth are made by ``reserve.lua``, and their mark is gone when it was accepted, or dropped.
  if known[3] then return 0 end
  if parts == 0 then return -1 end
  return #redis.call('XPENDING', key(lane), GROUP, entry, entry, 1) > 0 and -1 or -2
end
local waits = 0
for n = 1, parts do
  if n ~= part then
    local found = redis.call('HGET', name, mark .. '.' .. n)
    if not found or string.match(found, '^(.*)|%d+$') ~= token then return -1 end
    waits = waits + tonumber(string.match(found, '%d+$'))
  end
end
local answer, kept = string.match(ARGV[11], '(%a+) (%d+)$')
local hash = parts > 0 and answer and string.match(gid, '^00u(%x+)%-')
if hash then
  local held = redis.call('HGET', key('unique'), hash)
  local holder = held and string.match(held, '^%S+')
  if holder and holder ~= gid and (is_unfinished(holder) or waiting_node(holder)) then
    -- Its sender asks which one that is.
    redis.call('SET', key('same:' .. gid), (answer == 'error' and '!' or '') .. holder, 'PX', kept)
    return -3
  end
end

-- 2. Where the parts of this message are, and whether all of it can be written.
local fields = 17
local members = fields + 1 + 2 * tonumber(ARGV[fields])
local queues = members + 1 + 2 * tonumber(ARGV[members])
local limits = queues + 1 + tonumber(ARGV[queues])
waits = waits + tonumber(ARGV[members])
check_placing()
check_push({}, false)
for _, each in ipairs({ 'nodes', 'marks' }) do redis.call('HLEN', key(each)) end
redis.call('ZCARD', key('graphs'))
if parts > 0 then
  for n = limits, #ARGV, 3 do
    if waiting(ARGV[n]) + tonumber(ARGV[n + 1]) > tonumber(ARGV[n + 2]) then return -4 end
  end
end
local endings = open_all_endings()
local sealed, meta, _ = '', ''
if parts > 0 and lane ~= '' then
  _, sealed, meta = read(lane, entry)
  if redis.call('XACK', key(lane), GROUP, entry) ~= 1 then return -2 end
  redis.call('XDEL', key(lane), entry)
  -- What runs once at most has run; only a cancel ends it here.
  redis.call('HDEL', key('begun'), job)
  if marked(endings, job, sealed or '', meta or '') then
    close_endings(endings)
    return -2
  end
end

-- 3. The part.
if makes_room then retire(gid) end
for n = fields + 1, members - 1, 1000 do redis.call('HSET', name, unpack(ARGV, n, math.min(n + 999, members - 1))) end
for n = members + 1, queues - 1, 1000 do
  local rows = {}
  for at = n, math.min(n + 999, queues - 1), 2 do
    rows[#rows + 1], rows[#rows + 2] = ARGV[at], ARGV[at + 1] .. '|' .. gid
  end
  redis.call('HSET', key('nodes'), unpack(rows))
end
if limits > queues + 1 then redis.call('SADD', key('queues'), unpack(ARGV, queues + 1, limits - 1)) end
if first == '0' then redis.call('HSET', name, 'total', ARGV[9]) end
if parts == 0 then
  redis.call('HSET', name, mark, first == '0' and token or '1', mark .. '.' .. part, token .. '|' .. ARGV[members])
  if not state then
    redis.call('ZADD', key('graphs'), now() + STAGE_TIMEOUT, gid)
    redis.call('EXPIRE', name, GRAPH_NET)
  end
  return 1
end

-- 4. The accept.
if sequence > 0 then redis.call('SET', session, ARGV[2], 'EX', CLIENT_TTL) end
if redis.call('SCARD', key('index')) == 0 then redis.call('SADD', key('index'), '.') end
if not state then
  redis.call('HSET', name, 'state', 'c', 'ttl', ARGV[10], 'at', string.format('%.3f', now()))
  redis.call('PERSIST', name)
end
if hash then redis.call('HSET', key('unique'), hash, gid .. ' ' .. gid .. string.format(' %.3f', now())) end
local over = { mark }
for n = 1, parts do over[n + 1] = mark .. '.' .. n end
for n = 1, #over, 1000 do redis.call('HDEL', name, unpack(over, n, math.min(n + 999, #over))) end
redis.call('HINCRBY', name, 'left', ARGV[8])
redis.call('ZADD', key('graphs'), state == 'x' and now() or '+inf', gid)
if lane ~= '' then
  waits = waits + 1
  redis.call('HSET', key('nodes'), job, new .. '|' .. gid)
  -- Its slot becomes free; the job of what it returned has no limit.
  ended({ job }, { undo = endings.undo and undo_run })
  redis.call('HSET', name, 'p' .. first, job)
  local staged = string.gsub(redis.call('HGET', name, 'staged') or '', ' ' .. first .. '%-%d+', '', 1)
  redis.call('HSET', name, 'staged', staged)
  redis.call('HINCRBY', name, 'blank', old == '0' and 1 or 2)
  if old ~= '0' then
    -- The old number is virtual from here on, and ends with the new one, whose outcome the same nodes want.
    redis.call('HDEL', name, 'w' .. old)
    redis.call('HSET', name, 'o' .. old, 1, 'u' .. new, redis.call('HGET', name, 'u' .. old) or 0, 'v' .. new, old)
  end
end
if waits > 0 then add_up('WAITING', waits) end
local graph = graph_of(gid)
graph.is_new = true
-- What was spoiled since it was staged does not undo the accept.
if not pcall(feed, graph, { first }, { 's' }, 0, nil, {}, {}) then note_damage(gid) end
close_graphs(endings)
close_endings(endings)
return 1
