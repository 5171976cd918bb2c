-- KEYS: prefix.  ARGV: ids…  Removes the outcomes of unique jobs with their items, and frees their keys of the period.
-- Returns per job 1 where there was an outcome, else 0.
-- Needs: core
local reply = {}
for _, id in ipairs(ARGV) do
  local hash = string.match(id, '^00u(%x+)%-')
  local held = hash and redis.pcall('GET', key('once:' .. hash))
  reply[#reply + 1] = redis.call('DEL', key('r:' .. id))
  if reply[#reply] == 1 then redis.call('DEL', key('s:' .. id), key('reader:' .. id)) end
  if type(held) == 'string' and string.sub(held, 1, #id + 1) == id .. ' ' then redis.call('DEL', key('once:' .. hash)) end
end
return reply
