-- KEYS: prefix.  ARGV: per dead letter: id, its facts ('' where it is thought to be gone). Looks again at each.
-- Needs: core
for n = 1, #ARGV, 2 do
  if redis.call('ZSCORE', key('dead'), ARGV[n]) then
    if ARGV[n + 1] ~= '' then
      allow_writes()
      redis.call('HSETNX', key('dead:facts'), ARGV[n], ARGV[n + 1])
    end
  else redis.call('HDEL', key('dead:facts'), ARGV[n]) end
end
return 1
