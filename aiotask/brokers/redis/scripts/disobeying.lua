-- KEYS: prefix.  ARGV: id of a pause, how often pauses had changed with it. Returns the live incarnations that have not said that
-- they obey it; none where it is over.
-- Needs: core
local late, incarnations = {}, redis.call('HKEYS', key('live'))
if redis.call('HEXISTS', key('paused'), ARGV[1]) == 0 then return late end
for _, incarnation in ipairs(incarnations) do
  local seen = redis.pcall('HGET', key('obeyed'), incarnation)
  if incarnation ~= '' and (type(seen) ~= 'string' or (tonumber(seen) or 0) < tonumber(ARGV[2])) then late[#late + 1] = incarnation end
end
return late
