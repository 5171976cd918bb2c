-- KEYS: prefix.  ARGV: ids. Makes jobs due that are scheduled or are to be retried, in this order.
-- Returns per job 1, or 0 where it is none of them.
-- Needs: core index
local reply, at = {}, now()
redis.call('ZCARD', key('due'))
allow_writes()
for n, id in ipairs(ARGV) do
  local place = place_in_index(id)
  local is_due_later = place and string.sub(place, 1, 4) == 'due|' and redis.call('ZSCORE', key('due'), id)
  -- A microsecond apart, since the set orders equal times by id.
  if is_due_later then redis.call('ZADD', key('due'), 'XX', string.format('%.6f', at - (#ARGV - n) / 1e6), id) end
  reply[n] = is_due_later and 1 or 0
end
redis.call('DEL', key('stats'))
return reply
