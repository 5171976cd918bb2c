-- KEYS: prefix.  ARGV: names of the sets of slots. Where slots are left over, they are free, and what waits for them goes on.
-- Needs: core limits slots
allow_writes()
for _, name in ipairs(ARGV) do
  local freed = 0
  repeat
    local count = free_strays(name)
    freed = freed + count
  until count == 0
  local limit, by = string.match(name, '^slots:([^:]+):?(.*)$')
  if freed > 0 then lines().reopen(limit, string.match(name, '^slots:[^:]+:') and by or nil) end
end
