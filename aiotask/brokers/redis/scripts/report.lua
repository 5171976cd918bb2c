-- KEYS: prefix.  ARGV: incarnation, then per job: lane, entry, id, progress.
-- Keeps the progress of jobs, and tells it to those that follow them. Returns per job 1, or 0 where it is not the caller's.
-- Needs: core streams
local reply = {}
for n = 2, #ARGV, 4 do
  local lane, entry, id, progress = unpack(ARGV, n, n + 3)
  local is_ours = is_claimed(lane, entry, ARGV[1])
  if is_ours then
    redis.call('HSET', key('progress'), id, progress)
    local addresses = redis.call('HGET', key('follow'), id)
    for address in string.gmatch(addresses or '', '[^,]+') do
      redis.call('PUBLISH', key('to:' .. address), frame_of(3, id, progress))
    end
  end
  reply[#reply + 1] = is_ours and 1 or 0
end
return reply
