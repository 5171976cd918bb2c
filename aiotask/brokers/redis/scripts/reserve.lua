-- KEYS: prefix.  ARGV: graph, how many numbers.
-- Numbers for the nodes with which a job grows; a graph that there is not begins. Returns the first of them.
-- Needs: core graphs
local gid, count = ARGV[1], tonumber(ARGV[2])
local name = key('g:' .. gid)
redis.call('ZCARD', key('graphs'))
local state = redis.call('HGET', name, 'state')
if state == 'e' then
  retire(gid)
  state = false
end
local last = redis.call('HINCRBY', name, 'total', count)
local first = last - count + 1
local staged = redis.call('HGET', name, 'staged') or ''
redis.call('HSET', name, 'x' .. first, '1', 'staged', staged .. ' ' .. first .. '-' .. last)
if not state then
  redis.call('ZADD', key('graphs'), now() + STAGE_TIMEOUT, gid)
  redis.call('EXPIRE', name, GRAPH_NET)
end
return first
