-- KEYS: prefix.  ARGV: id, sealed CANCELLED outcome, result TTL (ms).
-- Returns cancelled, asked (a worker has it: a mark is left, and the worker and its keeper are notified), finished or unknown.
-- Needs: core index due results repair
local id, outcome, ttl = ARGV[1], ARGV[2], ARGV[3]
local at = place_in_index(id)
local lane, entry
if at then lane, entry = place_of(at) end
if redis.call('EXISTS', key('r:' .. id)) == 1 and not (lane and is_there(id, at)) then return 'finished' end
if not lane then return 'unknown' end
check_placing()
local endings = open_endings()
if lane == 'due' then
  local target, meta, sealed = unpack_held(redis.call('HGET', key('held'), id) or struct.pack('>I2I2', 0, 0))
  if is_foreign_lane(target) then return 'unknown' end
  redis.call('ZREM', key('due'), id)
  if redis.call('ZCARD', key('due')) == 0 then redis.call('DEL', key('clock')) end
  redis.call('HDEL', key('held'), id)
  conclude(endings, id, outcome, 'CANCELLED', ttl, address_of(sealed), sealed, meta)
  close_endings(endings)
  return 'cancelled'
end
local pending = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
if type(pending) == 'table' and not pending.err and #pending > 0 then
  redis.call('HDEL', key('marks'), id)
  redis.call('HSET', key('marks'), id, struct.pack('>I8', tonumber(ttl)) .. outcome)
  local owner = pending[1][2]
  notify(endings, owner, id, nil)
  notify(endings, string.match(owner, '^(.*)%.[^.]*$') or '', id, nil)
  close_endings(endings)
  return 'asked'
end
local _, sealed, meta = read(lane, entry)
if not sealed then forget(id); return 'unknown' end
redis.call('XDEL', key(lane), entry)
conclude(endings, id, outcome, 'CANCELLED', ttl, address_of(sealed), sealed, meta)
close_endings(endings)
return 'cancelled'
