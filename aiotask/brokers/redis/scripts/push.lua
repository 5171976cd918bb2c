-- KEYS: prefix.  ARGV: client, sequence, then per job: id, lane, sealed, delay (s), eta (Unix s or ''), custom ('1' or '').
-- Returns 1 when the batch is in, 0 when it was a repeat. Everything is checked before the first write; the
-- first write is one that a full server refuses.
local last = redis.call('GET', key('client:' .. ARGV[1]))
if last and tonumber(ARGV[2]) <= tonumber(last) then return 0 end
local lanes = {}
for n = 3, #ARGV, 6 do lanes[ARGV[n + 1]] = true end
for lane in pairs(lanes) do redis.call('XLEN', key(lane)) end
redis.call('HLEN', key('index'))
redis.call('ZCARD', key('due'))
redis.call('SET', key('client:' .. ARGV[1]), ARGV[2], 'EX', 3600)
for lane in pairs(lanes) do redis.call('SADD', key('queues'), string.match(lane, '^q:(.*):%d$')) end
local at = now()
local fresh, index = {}, {}
for n = 3, #ARGV, 6 do
  local id, lane, sealed = ARGV[n], ARGV[n + 1], ARGV[n + 2]
  local known = ARGV[n + 5] == '1'
    and (fresh[id] or redis.call('HEXISTS', key('index'), id) == 1 or redis.call('EXISTS', key('r:' .. id)) == 1)
  if not known then
    fresh[id] = true
    local due = at + tonumber(ARGV[n + 3])
    if ARGV[n + 4] ~= '' then due = tonumber(ARGV[n + 4]) end
    if due > at then hold('S', due, lane, id, sealed, '')
    else
      index[#index + 1] = id
      index[#index + 1] = lane .. '|' .. redis.call('XADD', key(lane), '*', 'i', id, 'j', sealed)
    end
  end
end
if #index > 0 then redis.call('HSET', key('index'), unpack(index)) end
return 1
