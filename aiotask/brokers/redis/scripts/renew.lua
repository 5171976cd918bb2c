-- KEYS: prefix.  ARGV: host, lease counter, the epoch in which this host renewed last ('' if never), a fresh epoch.
-- Returns liveness (1 live, 0 declared dead, -1 the server has forgotten all incarnations) and the epoch.
-- Needs: core
local epoch = redis.call('HGET', key('live'), '')
if ARGV[3] ~= '' and redis.call('HEXISTS', key('leases'), ARGV[1]) == 0 then
  if epoch ~= ARGV[3] then return { -1, epoch or '' } end
  -- A host that is declared dead loses its incarnations too: where some live, only the counter was deleted, by hand.
  local lives = false
  for _, name in ipairs(redis.call('HKEYS', key('live'))) do
    if string.match(name, '^(.*)%.[^.]*$') == ARGV[1] then lives = true end
  end
  if not lives then return { 0, epoch } end
end
redis.call('HDEL', key('leases'), ARGV[1])
redis.call('HSET', key('leases'), ARGV[1], ARGV[2])
redis.call('HSETNX', key('live'), '', ARGV[4])
return { 1, epoch or ARGV[4] }
