-- KEYS: prefix. Works off a part of the agenda, and looks after the graphs whose time has come.
-- An item begins with its kind: f (feed) or n (free): node, graph, letter of its end, chunk; e (a node has ended, on a path that
-- did not know its graph): node, graph, letter, envelope; d (drop): from which node on, name of the graph's key.
-- Returns how many items are left, then the cancelled graphs whose jobs are to be concluded.
-- Needs: core nodes repair results graphs
local PAGE, GRAPHS_EACH = 250, 10
check_placing()
local endings = open_endings()
allow_writes()

-- Drops nodes of a graph that is over, or was never accepted, and at last the graph.
local function drop_nodes(from, name)
  local hash = key('g:' .. name)
  local known = redis.call('HMGET', hash, 'total', 'id')
  if known[1] then
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
    if from + PAGE <= tonumber(known[1]) then
      owe({ 'd', from + PAGE, name })
      return
    end
  end
  redis.call('UNLINK', hash)
  redis.call('ZREM', key('graphs'), name)
end

local function work(item)
  local kind, number = item[1], item[2]
  if kind == 'd' then return drop_nodes(number, item[3]) end
  local graph, letter, extra = graph_of(item[3]), item[4], item[5]
  steps = steps - 1
  if not graph then return end
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

while steps > 0 do
  local packed = redis.pcall('LPOP', key('agenda'))
  if type(packed) ~= 'string' then break end
  local ok, item = pcall(cmsgpack.unpack, packed)
  -- What was written there by hand, or where something else was put into a graph, is left out.
  if ok and type(item) == 'table' then pcall(work, item) end
end
close_graphs(endings)
close_endings(endings)

local left, reply = redis.pcall('LLEN', key('agenda')), {}
if steps > 0 then
  local at = now()
  local due = redis.pcall('ZRANGEBYSCORE', key('graphs'), '-inf', at, 'LIMIT', 0, GRAPHS_EACH)
  for _, gid in ipairs(due.err and {} or due) do
    local state = redis.pcall('HGET', key('g:' .. gid), 'state')
    if state == 'x' then
      reply[#reply + 1] = gid
      redis.call('ZADD', key('graphs'), at, gid)
    elseif state == 'd' then
      -- The items that were to drop it may have been lost.
      owe({ 'd', 1, gid })
      redis.call('ZADD', key('graphs'), at + STAGE_TIMEOUT, gid)
    elseif state == 'c' then redis.call('ZADD', key('graphs'), '+inf', gid)
    elseif type(state) == 'table' or redis.call('EXISTS', key('g:' .. gid)) == 0 then redis.call('ZREM', key('graphs'), gid)
    else retire(gid) end
  end
  left = redis.pcall('LLEN', key('agenda'))
end
table.insert(reply, 1, type(left) == 'number' and left or 0)
return reply
