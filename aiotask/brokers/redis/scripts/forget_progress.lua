-- KEYS: prefix.  ARGV: hash, cursor.  Removes from this hash what belongs to jobs that have ended: of a job that was not
-- special, or whose last run reported nothing, the end leaves it behind.
-- Returns the next cursor, '0' at the end.
-- Needs: core index
local found = redis.call('HSCAN', key(ARGV[1]), ARGV[2], 'COUNT', 100)
for n = 1, #found[2], 2 do
  if not is_unfinished(found[2][n]) then redis.call('HDEL', key(ARGV[1]), found[2][n]) end
end
return found[1]
