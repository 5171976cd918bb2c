-- KEYS: prefix.  ARGV: id, address of its reader, which reads no further. Another one that has come since stays.
-- Needs: core
local info = key('reader:' .. ARGV[1])
if redis.call('HGET', info, 'to') == ARGV[2] then
  allow_writes()
  redis.call('HSET', info, 'to', '')
end
