-- KEYS: prefix.  ARGV: per delivery: lane, entry, id, reason. Sets aside messages that are no jobs of this
-- app, and notifies the clients that wait for them. A message without a lane came on a channel, and is only counted.
-- Needs: core index history results repair special
local endings = open_all_endings()
redis.call('XLEN', key('aside'))
for n = 1, #ARGV, 4 do
  local id, sealed
  if ARGV[n] ~= '' then id, sealed = read(ARGV[n], ARGV[n + 1]) end
  if ARGV[n] == '' then
    allow_writes()
    add_up('rejected', 1)
  elseif redis.call('XACK', key(ARGV[n]), GROUP, ARGV[n + 1]) == 1 then
    redis.call('XDEL', key(ARGV[n]), ARGV[n + 1])
    if ARGV[n + 2] ~= '' and place_in_index(ARGV[n + 2]) == ARGV[n] .. '|' .. ARGV[n + 1] then
      notify(endings, address_of(sealed or ''), ARGV[n + 2], nil)
      notify_watchers(endings, ARGV[n + 2], nil)
      redis.call('SET', key('refused:' .. ARGV[n + 2]), ARGV[n + 3], 'EX', REFUSED_TTL)
      forget(ARGV[n + 2])
    end
    set_aside(ARGV[n + 2], sealed or '', ARGV[n + 3])
  end
end
close_endings(endings)
return 1
