-- KEYS: prefix. Works off a part of the agenda, and looks after the graphs whose time has come.
-- An item begins with its kind: f (feed) or n (free): node, graph, letter of its end, chunk; e (a node has ended, on a path that
-- did not know its graph): node, graph, letter, envelope; d (drop): from which node on, name of the graph's key; y (replay): from
-- which node on, graph, virtual node, phase; p (what a replay makes wait for a node): node, graph, letter, chunk; and where
-- something was lost or spoiled: h (notes all graphs that run as damaged); a (looks for nodes that wait for nothing): from which
-- node on, graph, letter, chunk, whether an earlier one has not ended; z (begins a replay anew): from which node on, graph.
-- Returns how many items are left, then the cancelled graphs whose jobs are to be concluded.
-- Needs: core nodes index history repair results damage graphs special
-- Numbers of nodes in one page, also of a replay (as many as edges in a chunk), and graphs that are looked after in one call.
local PAGE, REPLAYED, GRAPHS_EACH = 250, CHUNK, 10
-- Nodes of a damaged graph that are looked at together, and seconds until it is looked at again.
local WALKED, WALK_EVERY = 100, 60
check_placing()
local endings = open_all_endings()
allow_writes()

-- Drops nodes of a graph that is over, or was never accepted, and at last the graph.
local function drop_nodes(from, name)
  local hash = key('g:' .. name)
  local known = redis.call('HMGET', hash, 'total', 'id')
  local total = tonumber(known[1] or '')
  if total then
    local wanted, ids, outcomes, numbers = {}, {}, {}, {}
    for number = from, from + PAGE - 1 do wanted[#wanted + 1], wanted[#wanted + 2] = 'i' .. number, 'u' .. number end
    local found = redis.call('HMGET', hash, unpack(wanted))
    for n = 1, #found, 2 do
      if found[n] then
        ids[#ids + 1], numbers[#numbers + 1] = id_in(found[n]), string.format('%d', from + (n - 1) / 2)
        if found[n + 1] and found[n + 1] ~= '0' then outcomes[#outcomes + 1] = RESULT .. ids[#ids] end
      end
    end
    if #ids > 0 then
      local places, gone, asked = redis.call('HMGET', key('nodes'), unpack(ids)), {}, {}
      for n = 1, #numbers do asked[n] = 'i' .. numbers[n] end
      -- The same graph may have been staged anew.
      local newer = redis.call('HMGET', key('g:' .. known[2]), unpack(asked))
      for n = 1, #ids do
        if places[n] == numbers[n] .. '|' .. known[2] and not newer[n] then gone[#gone + 1] = ids[n] end
      end
      if #gone > 0 then redis.call('HDEL', key('nodes'), unpack(gone)) end
      if #outcomes > 0 then redis.call('UNLINK', unpack(outcomes)) end
    end
    steps = steps - PAGE
    if from + PAGE <= total then
      owe({ 'd', from + PAGE, name })
      return
    end
  end
  redis.call('UNLINK', hash)
  redis.call('ZREM', key('graphs'), name)
end

-- Of a replay: whatever ended badly downstream of these nodes, which did too, waits for one node more.
local function wait_again(graph, numbers, from)
  local letters = {}
  for n = 1, #numbers do letters[n] = '' end
  local left = each_edge(graph, 'f', numbers, letters, from, nil, function(other)
    local bad = redis.call('HGET', graph.name, 'b' .. other)
    if bad and bad ~= 'l' then redis.call('HINCRBY', graph.name, 'o' .. other, 1) end
    steps = steps - 1
  end, 'p')
  if left > 0 then redis.call('HINCRBY', graph.name, 'edges', left) end
end

-- Whether the one node upstream of a follow-up is to run again; ``upstream``: the chunk with its number.
local function runs_again(graph, upstream)
  local bad = upstream and redis.call('HGET', graph.name, 'b' .. struct.unpack('>I4', upstream))
  return bad and bad ~= 'l'
end

-- Of a replay, first phase: nodes that ended badly wait again. Their outcomes and dead letters go.
local function prepare(graph, from, first)
  local wanted, again, ids, envelopes = {}, {}, {}, {}
  for number = from, from + REPLAYED - 1 do
    wanted[#wanted + 1], wanted[#wanted + 2] = 'b' .. number, 'i' .. number
    wanted[#wanted + 1], wanted[#wanted + 2] = 'e' .. number, 'v' .. number
    wanted[#wanted + 1], wanted[#wanted + 2] = 'w' .. number, 'n' .. number .. '.0'
  end
  local found, places, chunk, outcomes = redis.call('HMGET', graph.name, unpack(wanted)), {}, {}, {}
  for n = 1, #found, 6 do
    local bad, number, old = found[n], from + (n - 1) / 6, found[n + 3]
    if bad and bad ~= 'l' then
      again[#again + 1] = number
      if found[n + 2] then
        local id = id_in(found[n + 1])
        ids[#ids + 1], outcomes[#outcomes + 1] = id, RESULT .. id
        places[#places + 1], places[#places + 2] = id, string.format('%d|%s', number, graph.id)
        -- A follow-up waits for what it follows alone, if that runs again too: the end that comes last decides about it.
        if not (found[n + 4] and runs_again(graph, found[n + 5])) then
          chunk[#chunk + 1] = struct.pack('>I4', number)
          redis.call('HINCRBY', graph.name, 'o' .. number, 1)
        end
        -- Some that wanted the outcome under its old number have ended well with that of the earlier run.
        if old then redis.call('HSET', graph.name, 'u' .. number, redis.call('HGET', graph.name, 'u' .. old) or 0) end
      end
    end
  end
  steps = steps - REPLAYED
  if #again == 0 then return end
  redis.call('HINCRBY', graph.name, 'left', #again)
  wait_again(graph, again, 0)
  if #ids == 0 then return end
  redis.call('HSET', key('nodes'), unpack(places))
  for _, name in ipairs({ 'dead:jobs', 'dead:facts', 'marks' }) do redis.pcall('HDEL', key(name), unpack(ids)) end
  redis.pcall('ZREM', key('dead'), unpack(ids))
  redis.call('UNLINK', unpack(outcomes))
  ready_count = ready_count - #ids
  -- Every chunk but the last is full.
  local at = tonumber(redis.call('HGET', graph.name, 'chunks') or 0)
  local numbers = (redis.call('HGET', graph.name, 'f' .. first .. '.' .. at) or '') .. table.concat(chunk)
  redis.call('HSET', graph.name, 'f' .. first .. '.' .. at, string.sub(numbers, 1, 4 * CHUNK))
  if #numbers >= 4 * CHUNK then
    redis.call('HSET', graph.name, 'chunks', at + 1, 'f' .. first .. '.' .. (at + 1), string.sub(numbers, 4 * CHUNK + 1))
  end
end

-- A graph that is at rest runs again: its nodes are prepared, and then are no longer bad; at last they may start.
local function replay(graph, from, first, phase)
  if phase == 0 then
    prepare(graph, from, first)
    local goes_on = from + REPLAYED < first
    owe({ 'y', goes_on and from + REPLAYED or 1, graph.id, first, goes_on and 0 or 1 })
  elseif redis.call('HGET', graph.name, 'edges') and redis.call('HGET', graph.name, 'edges') ~= '0' then
    -- Items of the first phase are behind this one.
    owe({ 'y', from, graph.id, first, phase })
    steps = steps - REPLAYED
  else
    local wanted, gone, blank = {}, {}, 0
    for number = from, from + PAGE - 1 do wanted[#wanted + 1] = 'b' .. number end
    for n, bad in ipairs(redis.call('HMGET', graph.name, unpack(wanted))) do
      if bad and bad ~= 'l' then gone[#gone + 1] = wanted[n] end
      if bad == 'd' then blank = blank - 1 end
    end
    -- Follow-ups that were dropped are jobs once more.
    if blank ~= 0 then
      redis.call('HINCRBY', graph.name, 'blank', blank)
      add_up('dropped', blank)
    end
    if #gone > 0 then redis.call('HINCRBY', graph.name, 'bad', -redis.call('HDEL', graph.name, unpack(gone))) end
    steps = steps - PAGE
    if from + PAGE < first then return owe({ 'y', from + PAGE, graph.id, first, phase }) end
    local is_cancelled = redis.call('HGET', graph.name, 'cancelled')
    redis.call('HDEL', graph.name, 'cancelled', 'chunks', 'edges')
    graph.state, graph.is_new = is_cancelled and 'x' or 'c', true
    redis.call('HSET', graph.name, 'state', graph.state)
    if is_cancelled then redis.call('ZADD', key('graphs'), now(), graph.id) end
    owe({ 'f', first, graph.id, 's', 0 })
  end
end

-- A node whose fields were spoiled cannot run: it is forgotten, and what is downstream of it finds no outcome.
local function lose(graph, number)
  local name, gid = key('g:' .. graph.id), graph.id
  local id = id_at(redis.call('HGET', name, 'i' .. number))
  redis.call('HDEL', name, 'o' .. number, 'e' .. number, 'w' .. number)
  redis.call('HSET', name, 'b' .. number, 'l')
  redis.pcall('HINCRBY', name, 'bad', 1)
  if redis.pcall('HGET', key('nodes'), id) == string.format('%d|%s', number, gid) then
    dropped[#dropped + 1] = id
    ready_count = ready_count + 1
  end
  go_on(graph, { number }, { 'f' })
end

-- A node that waits, though everything upstream of it has ended, is ready.
local function release(graph, number, letter)
  -- The end of another one in this call may have made it so.
  if redis.call('HEXISTS', graph.name, 'o' .. number) == 0 then return end
  local is_done = pcall(function()
    local over, ends = {}, {}
    make_ready(graph, { number }, { letter }, over, ends)
    go_on(graph, over, ends)
  end)
  if not is_done then pcall(lose, graph, number) end
end

-- Looks at a page of a damaged graph, from one node and the chunk upstream of it on. One page is the whole truth; what is left
-- of a larger graph is only known once nothing is.
local function walk(graph, from, letter, at, is_open)
  local known, wanted, numbers = redis.call('HMGET', graph.name, 'total', 'staged'), {}, {}
  local total = tonumber(known[1] or 0) or 0
  for number = from, math.min(from + WALKED - 1, total) do
    local is_staged = false
    for first, last in string.gmatch(known[2] or '', '(%d+)%-(%d+)') do
      is_staged = is_staged or number >= tonumber(first) and number <= tonumber(last)
    end
    if not is_staged then
      numbers[#numbers + 1] = number
      wanted[#wanted + 1], wanted[#wanted + 2] = 'o' .. number, 'i' .. number
    end
  end
  local rows = #wanted > 0 and redis.call('HMGET', graph.name, unpack(wanted)) or {}
  local open, count, gone = open_ones(graph.id, numbers, rows), 0, graph.gone
  steps = steps - #numbers
  for n = 1, #numbers do
    local number = numbers[n]
    local waits, id = rows[2 * n - 1], id_at(rows[2 * n])
    if open[number] then count = count + 1 end
    if open[number] and not waits and not place_in_index(id) then
      -- It is nowhere: its counter was deleted while it waited, which says no more than that it waits; or its envelope was.
      waits = redis.call('HSTRLEN', graph.name, 'e' .. number) > 0
      if waits then redis.call('HSET', graph.name, 'o' .. number, total)
      else pcall(lose, graph, number) end
    end
    if waits and id ~= '' and redis.call('HSTRLEN', graph.name, 'e' .. number) == 0 then
      -- The old number of a job that grew: it ends with the new one.
      if not node_of(id) then release(graph, number, 's') end
    elseif waits then
      if steps <= 0 then return owe({ 'a', number, graph.id, letter, at, is_open or count > 1 }) end
      local begun = number == from
      local how, worst, reached, looked = upstream_of(graph.id, number, begun and at or 0, begun and letter or 's', 8)
      steps = steps - looked
      if how == 'far' then return owe({ 'a', number, graph.id, worst, reached, is_open or count > 1 }) end
      if how == 'over' then release(graph, number, worst) end
    end
  end
  is_open = is_open or count > 0
  if from + WALKED <= total then return owe({ 'a', from + WALKED, graph.id, 's', 0, is_open }) end
  if from == 1 or not is_open then
    -- What ended in this call is taken off when the graphs are closed.
    redis.call('HSET', graph.name, 'left', count + gone)
    redis.call('HDEL', graph.name, 'hurt')
    redis.call('ZADD', key('graphs'), graph.state == 'x' and now() or '+inf', graph.id)
    graph.is_new = true
  end
end

-- The items of a replay were lost: every node that it had prepared, or was to prepare, has ended badly once more.
local function replay_anew(graph, from)
  local wanted = {}
  for number = from, from + REPLAYED - 1 do
    wanted[#wanted + 1], wanted[#wanted + 2], wanted[#wanted + 3] = 'o' .. number, 'b' .. number, 'i' .. number
  end
  local found, counters, bad = redis.call('HMGET', graph.name, unpack(wanted)), {}, {}
  for n = 1, #found, 3 do
    local number, id = from + (n - 1) / 3, id_at(found[n + 2])
    if found[n] then
      counters[#counters + 1] = 'o' .. number
      if not found[n + 1] then bad[#bad + 1], bad[#bad + 2] = 'b' .. number, 'f' end
      if node_of(id) then
        redis.call('HDEL', key('nodes'), id)
        ready_count = ready_count + 1
      end
    end
  end
  if #counters > 0 then redis.call('HDEL', graph.name, unpack(counters)) end
  if #bad > 0 then
    redis.call('HSET', graph.name, unpack(bad))
    redis.call('HINCRBY', graph.name, 'bad', #bad / 2)
  end
  steps = steps - REPLAYED
  if from + REPLAYED <= (tonumber(redis.call('HGET', graph.name, 'total') or 0) or 0) then
    return owe({ 'z', from + REPLAYED, graph.id })
  end
  redis.call('HDEL', graph.name, 'chunks', 'edges')
  redis.call('HSET', graph.name, 'left', 0)
  redis.call('HINCRBY', graph.name, 'blank', 1)
  owe({ 'y', 1, graph.id, redis.call('HINCRBY', graph.name, 'total', 1), 0 })
end

-- Items of the agenda were lost, of whichever graphs.
local function note_all()
  local running = redis.call('ZRANGEBYSCORE', key('graphs'), '+inf', '+inf', 'LIMIT', 0, PAGE)
  for _, gid in ipairs(running) do
    note_damage(gid)
    if redis.call('ZSCORE', key('graphs'), gid) == 'inf' then redis.call('ZREM', key('graphs'), gid) end
  end
  steps = steps - PAGE
  if #running == PAGE then owe({ 'h', 0 }) end
end

local function work(item)
  local kind, number = item[1], item[2]
  if kind == 'd' then return drop_nodes(number, item[3]) end
  if kind == 'h' then return note_all() end
  local graph, letter, extra = graph_of(item[3]), item[4], item[5]
  steps = steps - 1
  if not graph then return end
  if kind == 'y' then return graph.state == 'r' and replay(graph, number, letter, extra) end
  if kind == 'a' then return (graph.state == 'c' or graph.state == 'x') and walk(graph, number, letter, extra, item[6]) end
  if kind == 'z' then return graph.state == 'r' and replay_anew(graph, number) end
  if kind == 'p' then
    wait_again(graph, { number }, extra)
    return redis.call('HINCRBY', graph.name, 'edges', -1)
  end
  if kind == 'n' then return free(graph, { number }, { letter }, extra) end
  if kind == 'f' then
    local over, ends = {}, {}
    feed(graph, { number }, { letter }, extra, nil, over, ends)
    return go_on(graph, over, ends)
  end
  if letter ~= 's' then note_bad(graph, number, letter, extra) end
  local found = redis.call('HMGET', graph.name, 'u' .. number, 'i' .. number)
  if found[1] and found[1] ~= '0' and found[2] then redis.call('PERSIST', RESULT .. id_in(found[2])) end
  redis.call('HDEL', graph.name, 'o' .. number)
  steps = steps - 4
  go_on(graph, { number }, { letter })
end

-- More items were left than there are, or fewer: something else has been at the agenda.
local function check_agenda(popped)
  local owed, left = redis.pcall('HGET', key('counts'), 'owed') or 0, redis.pcall('LLEN', key('agenda'))
  if popped > 0 then owed = redis.pcall('HINCRBY', key('counts'), 'owed', 0 - popped) end
  if type(left) ~= 'number' then left = 0 end
  if tonumber(owed) == left then return end
  redis.call('HSET', key('counts'), 'owed', left)
  note_all()
end

local popped = 0
while steps > 0 do
  local packed = redis.pcall('LPOP', key('agenda'))
  if type(packed) ~= 'string' then break end
  popped = popped + 1
  local ok, item = pcall(cmsgpack.unpack, packed)
  -- What was written there by hand is left out.
  if ok and type(item) == 'table' and not pcall(work, item) and item[1] ~= 'd' and type(item[3]) == 'string' then
    note_damage(item[3])
  end
end
check_agenda(popped)
close_graphs(endings)
close_endings(endings)

local left, reply = redis.pcall('LLEN', key('agenda')), {}
if steps > 0 then
  local at = now()
  local due = redis.pcall('ZRANGEBYSCORE', key('graphs'), '-inf', at, 'LIMIT', 0, GRAPHS_EACH)
  for _, gid in ipairs(due.err and {} or due) do
    local known = redis.pcall('HMGET', key('g:' .. gid), 'state', 'hurt')
    local state, hurt = known.err and known or known[1], not known.err and known[2]
    local is_damaged = hurt and (state == 'c' or state == 'r' or state == 'x')
    if is_damaged and (tonumber(hurt) or 0) <= at then
      owe({ state == 'r' and 'z' or 'a', 1, gid, 's', 0, false })
      redis.call('HSET', key('g:' .. gid), 'hurt', at + WALK_EVERY)
    end
    if state == 'x' then
      reply[#reply + 1] = gid
      redis.call('ZADD', key('graphs'), at, gid)
    elseif state == 'd' then
      -- The items that were to drop it may have been lost.
      owe({ 'd', 1, gid })
      redis.call('ZADD', key('graphs'), at + STAGE_TIMEOUT, gid)
    elseif is_damaged then redis.call('ZADD', key('graphs'), at + WALK_EVERY, gid)
    elseif state == 'c' or state == 'r' then redis.call('ZADD', key('graphs'), '+inf', gid)
    elseif type(state) == 'table' or redis.call('EXISTS', key('g:' .. gid)) == 0 then redis.call('ZREM', key('graphs'), gid)
    else retire(gid) end
  end
  left = redis.pcall('LLEN', key('agenda'))
end
table.insert(reply, 1, type(left) == 'number' and left or 0)
return reply
