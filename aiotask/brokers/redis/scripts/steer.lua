-- KEYS: prefix.  ARGV: graph, what: cancel, ended (the jobs of a cancelled graph are concluded) or replay.
-- Returns done, unknown, or running (a replay of a graph that is not at rest).
-- Needs: core nodes index
local gid, what = ARGV[1], ARGV[2]
local name = key('g:' .. gid)
local state = redis.pcall('HGET', name, 'state')
if type(state) ~= 'string' or state == 'd' then return 'unknown' end
redis.call('ZCARD', key('graphs'))
allow_writes()
if what == 'replay' then
  if state ~= 'e' then return 'running' end
  local hash = string.match(gid, '^00u(%x+)%-')
  local holder = hash and string.match(redis.call('HGET', key('unique'), hash) or '', '^%S+')
  if hash and not (holder and (is_unfinished(holder) or waiting_node(holder))) then
    redis.call('HSET', key('unique'), hash, gid .. ' ' .. gid .. string.format(' %.3f', now()))
  end
  -- One number more: that of the virtual node for which the nodes wait until all of them are prepared.
  local first = redis.call('HINCRBY', name, 'total', 1)
  redis.call('HSET', name, 'state', 'r', 'left', 0, 'at', string.format('%.3f', now()))
  redis.call('HDEL', name, 'hurt', 'edges', 'chunks')
  redis.call('HINCRBY', name, 'blank', 1)
  redis.call('PERSIST', name)
  redis.call('ZADD', key('graphs'), '+inf', gid)
  owe({ 'y', 1, gid, first, 0 })
elseif what == 'ended' then
  if state == 'x' then redis.call('ZADD', key('graphs'), '+inf', gid) end
elseif state == 'r' then redis.call('HSET', name, 'cancelled', '1')
elseif state ~= 'e' then
  redis.call('HSET', name, 'state', 'x', 'at', string.format('%.3f', now()))
  redis.call('ZADD', key('graphs'), now(), gid)
end
return 'done'
