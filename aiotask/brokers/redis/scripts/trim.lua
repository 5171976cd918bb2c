-- KEYS: prefix.  ARGV: group, then pairs: entry of the history, rows in it.  They are recorded.
-- Needs: core history
local history, entries, left = key('history'), {}, 0
for n = 2, #ARGV, 2 do entries[#entries + 1] = ARGV[n] end
redis.call('XACK', history, ARGV[1], unpack(entries))
for n = 2, #ARGV, 2 do
  if redis.call('XDEL', history, ARGV[n]) == 1 then left = left + tonumber(ARGV[n + 1]) end
end
-- Where rows were deleted by hand, counting begins anew when none is left.
if redis.call('XLEN', history) == 0 then redis.pcall('HDEL', key('counts'), 'unrecorded')
else add_up('unrecorded', -left) end
