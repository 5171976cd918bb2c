-- KEYS: prefix.  ARGV: per job: lane, entry, id, progress ('': as it is), checkpoint ('': as it is).
-- Keeps progress and checkpoints of jobs, and tells progress to those that follow them. Returns per job 1, or 0 where it is not
-- the caller's.
-- Needs: core streams
local reply = {}
for n = 1, #ARGV, 5 do
  local lane, entry, id, progress, checkpoint = unpack(ARGV, n, n + 4)
  local is_ours = is_claimed(lane, entry)
  if is_ours and checkpoint ~= '' then redis.call('HSET', key('checkpoints'), id, checkpoint) end
  if is_ours and progress ~= '' then
    redis.call('HSET', key('progress'), id, progress)
    local addresses = redis.call('HGET', key('follow'), id)
    for address in string.gmatch(addresses or '', '[^,]+') do
      redis.call('PUBLISH', key('to:' .. address), frame_of(3, id, progress))
    end
  end
  reply[#reply + 1] = is_ours and 1 or 0
end
return reply
