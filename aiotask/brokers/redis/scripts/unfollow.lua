-- KEYS: prefix.  ARGV: id, address that is told no more of the progress of this job.
-- Needs: core
local left = {}
for address in string.gmatch(redis.call('HGET', key('follow'), ARGV[1]) or '', '[^,]+') do
  if address ~= ARGV[2] then left[#left + 1] = address end
end
redis.call('HDEL', key('follow'), ARGV[1])
if #left > 0 then redis.call('HSET', key('follow'), ARGV[1], table.concat(left, ',')) end
