-- Graphs: what the end of a node means for others. A graph is one hash (see ``brokers/graphs.py`` for its fields); what does
-- not fit into the steps of one call goes on the agenda.
-- Needs: core nodes lanes limits history results damage

local steps = GRAPH_STEPS
-- Nodes that no longer wait, and ids of those that ended without an outcome, in this call.
local ready_count, dropped = 0, {}

-- The graphs of this call by id: { id, name of its key, state, result TTL (ms), nodes that ended in this call }. False: there
-- is no such graph, or something else in its place: its jobs end all the same, and nothing is written that would make it anew.
local opened = {}
local function graph_of(gid)
  local graph = opened[gid]
  if graph == nil then
    local name = key('g:' .. gid)
    local known = redis.pcall('HMGET', name, 'state', 'ttl')
    graph = not known.err and known[1] and { id = gid, name = name, state = known[1], ttl = known[2] or '0', gone = 0 }
    opened[gid] = graph or false
  end
  return graph
end

-- The job id in the field i of a node, behind the name of its task.
local function id_in(field) return string.sub(field, 3 + struct.unpack('>I2', field)) end

-- Calls ``act`` with each number at the other end of the edges of these nodes: f (downstream) or n (upstream). ``from``: the
-- chunk to begin with; ``chunks``: what stands in it, where the caller has read it. No more than a chunk goes over the steps:
-- what is left then goes on the agenda as items of ``owed`` (nil: of this kind). Returns how many items that were.
local function each_edge(graph, kind, numbers, letters, from, chunks, act, owed)
  local left = 0
  if not chunks then
    local wanted = {}
    for n = 1, #numbers do wanted[n] = kind .. numbers[n] .. '.' .. from end
    chunks = redis.call('HMGET', graph.name, unpack(wanted))
  end
  for n = 1, #numbers do
    local chunk, at = chunks[n], from
    while chunk do
      if steps <= 0 then
        owe({ owed or kind, numbers[n], graph.id, letters[n], at })
        left = left + 1
        break
      end
      for byte = 1, #chunk, 4 do act(struct.unpack('>I4', chunk, byte), letters[n]) end
      steps = steps - #chunk / 4
      if #chunk < 4 * CHUNK then break end
      at = at + 1
      chunk = redis.call('HGET', graph.name, kind .. numbers[n] .. '.' .. at)
    end
  end
  return left
end

-- An unwanted follow-up ends without a trace. What it follows, if that ended well, has one less that may want its outcome; if
-- not, a replay of the graph may want the follow-up after all.
local function drop_follow_up(graph, number, letter, packed)
  graph.gone, graph.blank = graph.gone + 1, (graph.blank or 0) + 1
  if packed then
    dropped[#dropped + 1] = id_of(sealed_in(packed))
    add_up('dropped', 1)
    ready_count = ready_count + 1
  end
  if letter == 's' then
    redis.call('HDEL', graph.name, 'e' .. number, 'o' .. number, 'i' .. number, 'w' .. number)
    owe({ 'n', number, graph.id, letter, 0 })
  else
    redis.call('HDEL', graph.name, 'o' .. number)
    redis.call('HSET', graph.name, 'b' .. number, 'd')
    redis.call('HINCRBY', graph.name, 'bad', 1)
  end
end

-- Where jobs for a lane are put: something else may stand in its place. False: nowhere for now.
local function open_lane(lane)
  if string.byte(lane) == 108 then return lane end
  if type(redis.pcall('XLEN', key(lane))) == 'number' then return lane end
  local returned = string.gsub(lane, '%w$', 'r')
  return type(redis.pcall('XLEN', key(returned))) == 'number' and returned
end

-- Puts what waits for nothing any more into its lane, a lane at a time. A node without an envelope is virtual: it ends at
-- once, and joins ``over`` with its letter in ``ends``.
local function make_ready(graph, numbers, letters, over, ends)
  local wanted, gone, lists = {}, {}, {}
  for n = 1, #numbers do
    wanted[3 * n - 2], wanted[3 * n - 1], wanted[3 * n] = 'e' .. numbers[n], 'w' .. numbers[n], 'b' .. numbers[n]
  end
  local found = redis.call('HMGET', graph.name, unpack(wanted))
  local groups, jobs = {}, {}
  for n = 1, #numbers do
    local packed, condition, bad = found[3 * n - 2], found[3 * n - 1], found[3 * n]
    if condition and (condition == 'e' and 'f' or condition) ~= letters[n] then
      drop_follow_up(graph, numbers[n], letters[n], packed)
    elseif not packed then
      over[#over + 1], ends[#ends + 1] = numbers[n], bad or letters[n]
      gone[#gone + 1] = 'o' .. numbers[n]
    elseif graph.state ~= 'x' then
      local width = struct.unpack('>I2', packed)
      local lane, delay, eta = string.sub(packed, 3, 2 + width), struct.unpack('>dd', packed, 3 + width)
      local sealed = string.sub(packed, 19 + width)
      local id = id_of(sealed)
      -- Few nodes expire: a target begins with a letter, a time does not.
      if string.byte(lane) < 65 then
        local expires, target = string.match(lane, '^(.-)|(.*)$')
        expires = tonumber(expires)
        redis.call('ZADD', key('expiring'), expires < 0 and now() - expires or expires, id)
        lane = target
      end
      gone[#gone + 1], gone[#gone + 2] = wanted[3 * n - 2], 'o' .. numbers[n]
      ready_count = ready_count + 1
      if delay > 0 or eta > 0 then
        jobs[#jobs + 1], jobs[#jobs + 2] = id, sealed
        groups[#groups + 1] = { lane, #jobs - 1, #jobs - 1, '', eta > 0 and eta or now() + delay, eta > 0 and 'E' or 'S' }
      else
        local list = lists[lane]
        if not list then
          list = {}
          lists[lane] = list
        end
        list[#list + 1], list[#list + 2] = id, sealed
      end
    end
  end
  if #gone > 0 then redis.call('HDEL', graph.name, unpack(gone)) end
  for lane, list in pairs(lists) do
    local target, first = open_lane(lane), #jobs + 1
    for n = 1, #list do jobs[#jobs + 1] = list[n] end
    -- A line takes the server longer than a lane.
    if string.byte(lane) == 108 then steps = steps - 5 * #list end
    if target then groups[#groups + 1] = { target, first, #jobs - 1, '' }
    else groups[#groups + 1] = { lane, first, #jobs - 1, '', now() + 5, 'S' } end
  end
  if #jobs > 0 then put(groups, jobs) end
end

-- What is downstream of these nodes waits for one node less.
local function feed(graph, numbers, letters, from, chunks, over, ends)
  local ready, how = {}, {}
  each_edge(graph, 'f', numbers, letters, from, chunks, function(other, letter)
    local open = redis.call('HINCRBY', graph.name, 'o' .. other, -1)
    if open < 0 then redis.call('HDEL', graph.name, 'o' .. other)
    else
      -- A virtual node ends badly with one that is upstream of it.
      if letter ~= 's' and redis.call('HSTRLEN', graph.name, 'e' .. other) == 0
        and redis.call('HSETNX', graph.name, 'b' .. other, letter) == 1 then
        redis.call('HINCRBY', graph.name, 'bad', 1)
      end
      if open == 0 then
        ready[#ready + 1], how[#how + 1] = other, letter
        steps = steps - 3
      end
    end
  end)
  if #ready > 0 then make_ready(graph, ready, how, over, ends) end
end

-- What is upstream of these nodes, which ended well, has one less that may want its outcome.
local function free(graph, numbers, letters, from, chunks)
  local idle = {}
  each_edge(graph, 'n', numbers, letters, from, chunks, function(other)
    local users = redis.call('HINCRBY', graph.name, 'u' .. other, -1)
    if users == 0 then
      idle[#idle + 1], idle[#idle + 2] = 'i' .. other, 't' .. other
      steps = steps - 1
    elseif users < 0 then redis.call('HDEL', graph.name, 'u' .. other) end
  end)
  if #idle == 0 then return end
  local found = redis.call('HMGET', graph.name, unpack(idle))
  for n = 1, #idle, 2 do
    if found[n] then redis.call('PEXPIRE', RESULT .. id_in(found[n]), found[n + 1] or graph.ttl) end
  end
end

-- Nodes have ended: what is downstream of them becomes ready, with the virtual nodes that end thereby.
local function go_on(graph, numbers, letters, down, up)
  while #numbers > 0 do
    graph.gone = graph.gone + #numbers
    local over, ends, good, how, some = {}, {}, {}, {}, up and {}
    feed(graph, numbers, letters, 0, down, over, ends)
    for n = 1, #numbers do
      if letters[n] == 's' then
        good[#good + 1], how[#how + 1] = numbers[n], 's'
        if up then some[#good] = up[n] end
      end
    end
    if #good > 0 then free(graph, good, how, 0, some) end
    numbers, letters, down, up = over, ends, nil, nil
  end
end

-- A job of a graph ends badly: noted for what is downstream and for a replay, which needs its envelope.
local function note_bad(graph, number, letter, sealed)
  if sealed ~= '' then
    local queue, _, priority = peek(sealed)
    local lane = line_in(sealed) or 'q:' .. queue .. ':' .. priority
    redis.call('HSET', graph.name, 'b' .. number, letter, 'e' .. number,
      struct.pack('>I2', #lane) .. lane .. struct.pack('>dd', 0, 0) .. sealed)
  else
    local has_envelope = redis.call('HEXISTS', graph.name, 'e' .. number) == 1
    redis.call('HSET', graph.name, 'b' .. number, has_envelope and letter or 'l')
  end
  redis.call('HINCRBY', graph.name, 'bad', 1)
end

-- How many nodes of a graph have not ended, once those of this call are taken off.
local function left_in(graph)
  -- 0 - 0, since -0 is no number to the server.
  local left = redis.pcall('HINCRBY', graph.name, 'left', 0 - graph.gone)
  if type(left) == 'number' then return left end
  note_damage(graph.id)
  return 1
end

-- Nodes of the graphs of this call have ended: nothing may be left of one.
local function close_graphs(endings)
  for _, graph in pairs(opened) do
    if graph and graph.blank then redis.pcall('HINCRBY', graph.name, 'blank', graph.blank) end
    if graph and (graph.gone > 0 or graph.is_new) and left_in(graph) <= 0 then
      local bad, at = redis.call('HGET', graph.name, 'bad'), now()
      local kept = tonumber(graph.ttl) / 1000
      if bad and bad ~= '0' then kept = math.max(kept, BAD_GRAPH_TTL) end
      redis.call('HSET', graph.name, 'state', 'e', 'at', string.format('%.3f', at))
      redis.pcall('ZADD', key('graphs'), at + kept, graph.id)
      redis.call('EXPIRE', graph.name, string.format('%.0f', math.ceil(kept) + GRAPH_NET))
    end
  end
  if #dropped > 0 then
    redis.pcall('HDEL', key('nodes'), unpack(dropped))
    if endings.watch then
      for n = 1, #dropped do notify_watchers(endings, dropped[n], nil) end
      redis.call('HDEL', key('watch'), unpack(dropped))
    end
  end
  if ready_count ~= 0 then add_up('WAITING', -ready_count) end
end

-- A graph is no longer under its id: ``advance`` drops the rest in pieces.
local function retire(gid)
  local t = redis.call('TIME')
  local name = gid .. '#' .. t[1] .. '.' .. t[2]
  redis.call('RENAME', key('g:' .. gid), key('g:' .. name))
  redis.call('HSET', key('g:' .. name), 'state', 'd', 'id', gid)
  redis.call('EXPIRE', key('g:' .. name), GRAPH_NET)
  redis.pcall('ZREM', key('graphs'), gid)
  redis.pcall('ZADD', key('graphs'), tonumber(t[1]) + STAGE_TIMEOUT, name)
  owe({ 'd', 1, name })
end
