-- KEYS: prefix.  ARGV: host, lease counter ('': in any case, since it leaves). Compare and remove: the host and its incarnations are
-- dead. One that another host declares dead is lost, which is kept for those who look.
-- Returns 1 when it was done.
-- Needs: core history
local counter = redis.call('HGET', key('leases'), ARGV[1])
-- A counter that is no number was written by another program.
if ARGV[2] ~= '' and counter ~= ARGV[2] and (not counter or string.match(counter, '^%d+$')) then return 0 end
redis.call('HDEL', key('leases'), ARGV[1])
local report = redis.pcall('HGET', key('reports'), ARGV[1])
redis.pcall('HDEL', key('reports'), ARGV[1])
local live = redis.call('HGETALL', key('live'))
for n = 1, #live, 2 do
  if live[n] ~= '' and string.match(live[n], '^(.*)%.[^.]*$') == ARGV[1] then redis.call('HDEL', key('live'), live[n]) end
end
-- Last: whatever stands in the place of this key, the host is dead by now.
if ARGV[2] ~= '' and counter then
  local known = redis.pcall('HGETALL', key('lost'))
  if known.err then redis.call('DEL', key('lost')); known = {} end
  if #known >= 2 * LOST_HOSTS then
    local oldest
    for n = 1, #known, 2 do
      if not oldest or string.sub(known[n + 1], 1, 8) < string.sub(known[oldest + 1], 1, 8) then oldest = n end
    end
    redis.call('HDEL', key('lost'), known[oldest])
  end
  report = type(report) == 'string' and string.sub(report, 17) or ''
  redis.call('HSET', key('lost'), ARGV[1], struct.pack('>I8I8', math.floor(now() * 1000), 0) .. report)
  add_up('lost', 1)
end
return 1
