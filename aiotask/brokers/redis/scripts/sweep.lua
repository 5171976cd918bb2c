-- KEYS: prefix.  ARGV: lanes…  Deletes the consumers of dead incarnations that hold nothing there but a bell that they heard.
-- Returns how many of the lanes were looked through: further ones are left to the next call once 500 consumers were.
-- Needs: core
local looked = 0
for n = 1, #ARGV do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', key(ARGV[n]), GROUP)
  local is_bell = string.find(ARGV[n], '^q:.+:b$') ~= nil
  if type(consumers) == 'table' and not consumers.err then
    for _, consumer in ipairs(consumers) do
      local name, held = consumer[2], consumer[4]
      if (held == 0 or is_bell) and redis.call('HEXISTS', key('live'), name) == 0 then
        redis.call('XGROUP', 'DELCONSUMER', key(ARGV[n]), GROUP, name)
      end
    end
    looked = looked + #consumers
  end
  if looked >= 500 then return n end
end
return #ARGV
