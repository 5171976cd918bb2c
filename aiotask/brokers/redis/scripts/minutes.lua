-- KEYS: prefix.  ARGV: 'm' or 'm10', numbers…  Returns per minute, or ten, that is there: number, and a flat list of its fields.
-- Needs: core
local reply = {}
for n = 2, #ARGV do
  local name = ARGV[1] == 'm' and key('m:' .. ARGV[n]) or key('m10:' .. ARGV[n])
  local fields = redis.pcall('HGETALL', name)
  if not fields.err and #fields > 0 then reply[#reply + 1] = { ARGV[n], fields } end
end
return reply
