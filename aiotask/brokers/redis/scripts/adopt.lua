-- KEYS: prefix.  ARGV: incarnation, lanes…
-- Returns per delivery that this incarnation holds by the server's account: lane, entry, id, sealed, meta.
local reply = {}
for n = 2, #ARGV do
  local lane = ARGV[n]
  local pending = redis.pcall('XPENDING', key(lane), GROUP, '-', '+', 1000, ARGV[1])
  if type(pending) == 'table' and not pending.err then
    for p = 1, #pending do
      local id, sealed, meta = read(lane, pending[p][1])
      if id then
        local at = #reply
        reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4], reply[at + 5] = lane, pending[p][1], id, sealed, meta
      else
        redis.call('XACK', key(lane), GROUP, pending[p][1])
      end
    end
  end
end
return reply
