-- KEYS: prefix.  ARGV: id, lane and entry of its run, incarnation that is told when the reader goes on, '1' if the run waits for the reader, TTL of the items (ms),
-- number of the first item, items ...
-- Keeps the items that are new, and tells them to the reader whole.
-- Returns the numbers of the last item that is here and of the last one that was taken, and 0 (no reader ever came), 1 (it
-- is gone) or 2 (it listens); -1 first where the run is not the caller's. A full server refuses items: the run waits.
-- Needs: core streams
local id = ARGV[1]
if not is_claimed(ARGV[2], ARGV[3]) then return { -1, 0, 0 } end
local name, info = key('s:' .. id), key('reader:' .. id)
local reader = redis.call('HMGET', info, 'at', 'to')
local at, to = tonumber(reader[1] or 0), reader[2]
local last = redis.call('XREVRANGE', name, '+', '-', 'COUNT', 1)
local have = #last > 0 and number_of(last[1][1]) or at
local first, told = tonumber(ARGV[7]), {}
for n = 8, #ARGV do
  local number = first + n - 8
  if number > have then
    redis.call('XADD', name, string.format('%d-0', number), 'd', ARGV[n])
    told[#told + 1] = frame_of(2, id, ARGV[n])
    have = number
  end
end
redis.call('PEXPIRE', name, ARGV[6])
if ARGV[5] == '1' then redis.call('HSET', info, 'waits', ARGV[4]) end
redis.call('PEXPIRE', info, ARGV[6])
local heard = 0
if to and to ~= '' then
  if #told > 0 then heard = redis.call('PUBLISH', key('to:' .. to), table.concat(told))
  else heard = tonumber(redis.call('PUBSUB', 'NUMSUB', key('to:' .. to))[2]) end
end
return { have, at, not to and 0 or heard > 0 and 2 or 1 }
