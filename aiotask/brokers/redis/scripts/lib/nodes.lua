-- Which jobs are nodes of graphs, and the agenda of what graphs are still to do.
-- Needs: core

-- Leaves work for ``advance.lua``, which says what an item is. Where something else was put in the place of the agenda, that
-- makes room: otherwise jobs would wait for ever. The items are counted, so it is found out when some of them are lost.
local function owe(item)
  local packed = cmsgpack.pack(item)
  redis.pcall('HINCRBY', key('counts'), 'owed', 1)
  local added = redis.pcall('RPUSH', key('agenda'), packed)
  if type(added) == 'number' then return end
  if not string.find(added.err, 'WRONGTYPE') then error(added.err) end
  redis.call('UNLINK', key('agenda'))
  redis.call('RPUSH', key('agenda'), packed)
end

-- The envelope in the field e of a node; empty: something else stands there.
local function sealed_in(packed)
  if not packed or #packed < 18 then return '' end
  return string.sub(packed, 19 + struct.unpack('>I2', packed))
end

-- The number of a node that has not ended, and the id of its graph, as text; nil: this is no node, or it has ended.
local function node_of(id)
  local at = redis.pcall('HGET', key('nodes'), id)
  if type(at) ~= 'string' then return nil end
  return string.match(at, '^(%d+)|(.*)$')
end

-- The same of a node that waits, in a graph that was accepted; also the state of the graph.
local function waiting_node(id)
  local number, gid = node_of(id)
  if not number then return nil end
  local known = redis.pcall('HMGET', key('g:' .. gid), 'state', 'o' .. number, 'staged')
  if known.err or not known[1] or known[1] == 'e' or not known[2] then return nil end
  -- What a growth has staged has numbers, and is not there before its accept.
  for first, last in string.gmatch(known[3] or '', '(%d+)%-(%d+)') do
    if tonumber(number) >= tonumber(first) and tonumber(number) <= tonumber(last) then return nil end
  end
  return number, gid, known[1]
end

-- The letter of an end: s (SUCCESS), c (CANCELLED) or f (FAILED, EXPIRED).
local function letter_of(status) return status == 'SUCCESS' and 's' or status == 'CANCELLED' and 'c' or 'f' end

-- A job has ended on a path that knows no more than its id: if it was a node, the agenda says so to its graph. Its outcome
-- stays, whatever its TTL, while a node may want it.
local function leave_graph(id, letter, sealed, outcome)
  local number, gid = node_of(id)
  if not number then return end
  redis.call('HDEL', key('nodes'), id)
  if outcome then
    local users = redis.pcall('HGET', key('g:' .. gid), 'u' .. number)
    if type(users) == 'string' and users ~= '0' then redis.call('SET', key('r:' .. id), outcome) end
  end
  owe({ 'e', number, gid, letter, sealed })
end
