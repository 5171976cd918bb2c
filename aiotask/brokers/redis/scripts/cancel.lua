-- KEYS: prefix.  ARGV: id, sealed CANCELLED outcome, result TTL (ms).
-- Returns cancelled, asked (a worker has it: a mark is left, and the worker and its keeper are notified), finished or unknown.
-- Needs: core index results repair unstarted special
local id, outcome, ttl = ARGV[1], ARGV[2], ARGV[3]
local at = place_in_index(id)
if redis.call('EXISTS', key('r:' .. id)) == 1 and not (at and place_of(at) and is_there(id, at)) then return 'finished' end
check_placing()
local endings = open_all_endings()
local is_over, owner = end_unstarted(endings, id, outcome, 'CANCELLED', ttl)
if owner then
  redis.call('HDEL', key('marks'), id)
  redis.call('HSET', key('marks'), id, struct.pack('>I8', tonumber(ttl)) .. outcome)
  notify(endings, owner, id, nil)
  notify(endings, string.match(owner, '^(.*)%.[^.]*$') or '', id, nil)
elseif not is_over then
  local lane = at and place_of(at)
  if lane and lane ~= 'due' then forget(id) end
end
close_unstarted(endings)
if is_over then return 'cancelled' end
return owner and 'asked' or 'unknown'
