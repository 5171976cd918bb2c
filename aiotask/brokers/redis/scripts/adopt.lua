-- KEYS: prefix.  ARGV: incarnation, limit, bytes, entry after which the first lane goes on ('' from its beginning), lanes…
-- Returns the lane to go on with (its number, 0: that was all) and the entry after which, and per delivery that this
-- incarnation holds by the server's account: lane, entry, sealed, meta.
-- Needs: core
local left, room, start = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local reply = { 0, '' }
for n = 5, #ARGV do
  local lane = ARGV[n]
  start = start == '' and '-' or '(' .. start
  while true do
    local pending = redis.pcall('XPENDING', key(lane), GROUP, start, '+', 50, ARGV[1])
    if type(pending) ~= 'table' or pending.err or #pending == 0 then break end
    for p = 1, #pending do
      local entry = pending[p][1]
      local id, sealed, meta = read(lane, entry)
      if id then
        local at = #reply
        reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = lane, entry, sealed, meta
        left, room = left - 1, room - #sealed
      else
        redis.call('XACK', key(lane), GROUP, entry)
      end
      if left <= 0 or room <= 0 then
        reply[1], reply[2] = n - 4, entry
        return reply
      end
      start = '(' .. entry
    end
  end
  start = ''
end
return reply
