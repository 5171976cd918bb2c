-- KEYS: prefix.  ARGV: id, address of the reader ('': the caller only looks), number of the last item that it has, how many
-- items and bytes at most.
-- Returns number and item of each that follows. What was taken is forgotten but for the last items, and a run that waits for
-- the reader is told to go on.
-- Needs: core streams
local id, name, info = ARGV[1], key('s:' .. ARGV[1]), key('reader:' .. ARGV[1])
local after = ARGV[3]
if ARGV[2] ~= '' then
  local found = redis.call('HMGET', info, 'at', 'waits')
  local at, waits = tonumber(found[1] or 0), found[2]
  -- A full server allows what follows once something was removed.
  redis.call('HDEL', info, 'waits')
  allow_writes()
  if tonumber(after) > at then
    local last = redis.call('XREVRANGE', name, '+', '-', 'COUNT', 1)
    at = math.min(tonumber(after), math.max(at, #last > 0 and number_of(last[1][1]) or 0))
  end
  redis.call('HSET', info, 'at', string.format('%d', at), 'to', ARGV[2])
  redis.call('PEXPIRE', info, math.max(redis.call('PTTL', name), READER_TTL))
  if at > KEPT_ITEMS then redis.call('XTRIM', name, 'MINID', string.format('%d-0', at - KEPT_ITEMS + 1)) end
  if waits then redis.call('PUBLISH', key('to:' .. waits), frame_of(1, id, '')) end
end
local reply, bytes = {}, 0
if ARGV[4] == '0' then return reply end
for _, entry in ipairs(redis.call('XRANGE', name, string.format('(%s-0', after), '+', 'COUNT', ARGV[4])) do
  if bytes > tonumber(ARGV[5]) then break end
  reply[#reply + 1] = number_of(entry[1])
  reply[#reply + 1] = entry[2][2]
  bytes = bytes + #entry[2][2]
end
return reply
