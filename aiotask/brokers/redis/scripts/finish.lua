-- KEYS: prefix.  ARGV: incarnation, epoch, repeat ('1' or ''), then per job: lane, entry, id, outcome, status,
-- result TTL (ms, 0: not stored), reply address, dead letter ('1' or '').
-- Returns standing, then per job 1 (done), 2 (done before by you) or 0 (not yours). XACK is the proof of ownership:
-- whoever takes a job over gives it another entry.
local reply = {}
for n = 4, #ARGV, 8 do
  local lane, entry, id, outcome, ttl = ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3], tonumber(ARGV[n + 5])
  if redis.call('XACK', key(lane), GROUP, entry) == 1 then
    if recording == nil then recording = redis.call('EXISTS', key('history')) == 1 end
    local sealed, meta = '', ''
    if recording or ARGV[n + 7] == '1' then
      local _
      _, sealed, meta = read(lane, entry)
    end
    redis.call('XDEL', key(lane), entry)
    conclude(id, outcome, ARGV[n + 4], ttl, ARGV[n + 6], sealed or '', meta or '')
    if ARGV[n + 7] == '1' then
      redis.call('ZADD', key('dead'), now(), id)
      redis.call('HSET', key('dead:jobs'), id, struct.pack('>I4', #(sealed or '')) .. (sealed or '') .. outcome)
      local extra = redis.call('ZRANGE', key('dead'), 0, -10001)
      for e = 1, #extra do
        redis.call('ZREM', key('dead'), extra[e])
        redis.call('HDEL', key('dead:jobs'), extra[e])
      end
    end
    reply[#reply + 1] = 1
  else
    local stored = redis.call('GET', key('r:' .. id))
    if stored == outcome then reply[#reply + 1] = 2
    elseif ARGV[3] == '1' and ttl == 0 and not stored and redis.call('HEXISTS', key('index'), id) == 0 then reply[#reply + 1] = 2
    else reply[#reply + 1] = 0 end
  end
end
told()
table.insert(reply, 1, standing(ARGV[1], ARGV[2]))
return reply
