-- KEYS: prefix.  ARGV: ids…  Runs dead letters again, each as if it had been sent just now.
-- Returns per id: replayed, missing, or outdated (a job of that id, or with its key, goes on, or one of that id ended
-- later: the letter stays).
-- Everything is checked before the first write, which a full server allows.
-- Needs: core index lanes limits
redis.call('ZCARD', key('dead'))
redis.call('SCARD', key('index'))
for _, name in ipairs({ 'dead:jobs', 'marks', 'watch', 'unique', 'checkpoints' }) do redis.call('HLEN', key(name)) end
local reply = {}
-- Counters that begin anew, and when: what an earlier run has sent is not taken for what this one sends.
local fresh = string.char(0x95) .. cmsgpack.pack(1) .. cmsgpack.pack(0) .. cmsgpack.pack('') .. string.char(0xc0)
  .. cmsgpack.pack(math.floor(now() * 1000))
for _, id in ipairs(ARGV) do
  local packed = redis.call('HGET', key('dead:jobs'), id)
  if not packed or #packed < 4 then
    redis.call('ZREM', key('dead'), id)
    redis.call('HDEL', key('dead:jobs'), id)
    redis.pcall('HDEL', key('dead:facts'), id)
    reply[#reply + 1] = 'missing'
  else
    local size = struct.unpack('>I4', packed)
    local sealed = string.sub(packed, 5, 4 + size)
    local stored = redis.call('GET', key('r:' .. id))
    local queue, _, priority = peek(sealed)
    -- A limited job takes its place in its line anew.
    local lane = line_in(sealed) or 'q:' .. queue .. ':' .. priority
    local later = stored and stored ~= string.sub(packed, 5 + size)
    local stream = string.byte(lane) ~= 108 and redis.pcall('XLEN', key(lane))
    local hash = string.match(id, '^00u(%x+)%-')
    local holder = hash and string.match(redis.call('HGET', key('unique'), hash) or '', '^%S+')
    if queue == '' or type(stream) == 'table' or later or is_unfinished(id) or holder and is_unfinished(holder) then
      reply[#reply + 1] = 'outdated'
    else
      redis.call('ZREM', key('dead'), id)
      redis.call('HDEL', key('dead:jobs'), id)
      redis.pcall('HDEL', key('dead:facts'), id)
      redis.call('HDEL', key('marks'), id)
      -- Who replays a job wants the run, however late it is.
      redis.call('ZREM', key('expiring'), id)
      redis.call('DEL', key('r:' .. id))
      -- Its reader would get the items of the earlier run.
      redis.call('DEL', key('s:' .. id), key('reader:' .. id))
      redis.call('HDEL', key('checkpoints'), id)
      redis.call('SADD', key('queues'), queue)
      if hash then redis.call('HSET', key('unique'), hash, id .. ' ' .. id .. string.format(' %.3f', now())) end
      put_one(lane, id, sealed, fresh)
      reply[#reply + 1] = 'replayed'
    end
  end
end
redis.call('DEL', key('stats'))
return reply
