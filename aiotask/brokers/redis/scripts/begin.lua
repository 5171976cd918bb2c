-- KEYS: prefix.  ARGV: incarnation, then per job: lane, entry, id, result TTL (ms), the sealed outcome if its process dies.
-- Jobs that run once at most are about to start: recover.lua ends one of them with that outcome.
-- Returns per job 1, or 0 (not yours).
-- Needs: core
local reply = {}
allow_writes()
for n = 2, #ARGV, 5 do
  local lane, entry, id, ttl, outcome = unpack(ARGV, n, n + 4)
  local pending = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1, ARGV[1])
  local mine = type(pending) == 'table' and not pending.err and #pending > 0
  if mine then redis.call('HSET', key('begun'), id, struct.pack('>I8', tonumber(ttl)) .. outcome) end
  reply[#reply + 1] = mine and 1 or 0
end
return reply
