-- KEYS: prefix.  ARGV: id
-- Returns where the job is, by one look: nothing where it is unknown; else 'DONE', outcome; or 'IN', lane, entry, the consumer
-- that has claimed it (''), envelope, meta, and how many stand before it in its line (''); or 'DUE', what the index says, when it is due (''), what it is kept as.
-- Needs: core index
local id = ARGV[1]
local outcome, at = redis.call('GET', key('r:' .. id)), place_in_index(id)
if outcome and not (at and is_there(id, at)) then return { 'DONE', outcome } end
if not at then return {} end
local lane, entry = place_of(at)
if not lane then return {} end
if lane == 'due' then
  local held = redis.call('HGET', key('held'), id)
  if not held then return {} end
  return { 'DUE', at, redis.call('ZSCORE', key('due'), id) or '', held }
end
if string.byte(lane) == 108 then
  local packed = redis.call('HGET', key('lined'), id)
  if not packed or #packed < 2 then return {} end
  local size = struct.unpack('>I2', packed)
  local ahead = redis.call('ZRANK', key(lane), id) or ''
  return { 'IN', lane, entry, '', string.sub(packed, 3 + size), string.sub(packed, 3, 2 + size), ahead }
end
local found, sealed, meta = read(lane, entry)
if not found then return {} end
local claims = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
local consumer = ''
if type(claims) == 'table' and not claims.err and #claims > 0 then consumer = claims[1][2] end
return { 'IN', lane, entry, consumer, sealed, meta, '' }
