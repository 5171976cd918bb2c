-- KEYS: prefix.  ARGV: group, streams… Makes the consumer group of each stream that has none, on a full server too.
-- Needs: core
allow_writes()
for n = 2, #ARGV do
  local made = redis.pcall('XGROUP', 'CREATE', key(ARGV[n]), ARGV[1], '0', 'MKSTREAM')
  if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP') then return made end
  -- A worker may wait at a parked lane that was removed since: the set of parked lanes names it again, so that the keeper removes it.
  local need = string.match(ARGV[n], '^parked:(.*)$')
  if need then redis.call('SADD', key('parked'), need) end
end
return 1
