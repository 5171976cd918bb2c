-- KEYS: prefix.  ARGV: id, address that is told of the progress of this job ('': none is added).
-- Returns the progress as it stands; nil: there is none.
-- Needs: core index
local id, address = ARGV[1], ARGV[2]
if address ~= '' and is_unfinished(id) then
  local addresses = redis.call('HGET', key('follow'), id)
  if not addresses then
    redis.call('HSET', key('follow'), id, address)
  elseif not string.find(',' .. addresses .. ',', ',' .. address .. ',', 1, true) then
    redis.call('HSET', key('follow'), id, addresses .. ',' .. address)
  end
end
return redis.call('HGET', key('progress'), id)
