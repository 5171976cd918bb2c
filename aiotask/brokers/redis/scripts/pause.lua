-- KEYS: prefix.  ARGV: id of the pause, the pause (msgpack). Tells every live incarnation to look. A resume of it that is under way
-- ends here. Returns how often pauses have changed.
-- Needs: core parking
redis.call('HSET', key('paused'), ARGV[1], ARGV[2])
for _, mark in ipairs(redis.call('HKEYS', key('resuming'))) do
  if string.match(mark, "^(.*)@") == ARGV[1] then redis.call('HDEL', key('resuming'), mark) end
end
tell_of_pauses()
return tonumber(redis.pcall('HGET', key('counts'), 'pauses')) or 0
