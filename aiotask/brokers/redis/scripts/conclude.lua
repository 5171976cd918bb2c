-- KEYS: prefix.  ARGV: per job: id, sealed outcome, status, result TTL (ms).
-- Ends jobs that have not started. Returns per job 1, or 0 where it has started, has ended or is not known.
-- Needs: core results repair unstarted special
local reply = {}
check_placing()
local endings = open_all_endings()
allow_writes()
for n = 1, #ARGV, 4 do
  local id, outcome, status, ttl = unpack(ARGV, n, n + 3)
  local is_over = redis.call('EXISTS', RESULT .. id) == 0 and end_unstarted(endings, id, outcome, status, ttl)
  reply[#reply + 1] = is_over and 1 or 0
end
close_unstarted(endings)
redis.call('DEL', key('stats'))
return reply
