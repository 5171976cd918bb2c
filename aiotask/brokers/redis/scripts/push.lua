-- KEYS: prefix.  ARGV: client, sequence, then groups of jobs that have the first four in common: lane, delay (s), eta (Unix
-- s or ''), custom ('1' or ''), how many, and per job: id, sealed.
-- Returns 1 when the batch is in, 0 when it was a repeat. Everything is checked before the first write; the
-- first write is one that a full server refuses.
local last = redis.call('GET', key('client:' .. ARGV[1]))
if last and tonumber(ARGV[2]) <= tonumber(last) then return 0 end
local lanes = {}
local n = 3
while n <= #ARGV do
  lanes[ARGV[n]] = key(ARGV[n])
  n = n + 5 + 2 * tonumber(ARGV[n + 4])
end
for _, stream in pairs(lanes) do redis.call('XLEN', stream) end
redis.call('HLEN', key('index'))
redis.call('ZCARD', key('due'))
redis.call('SET', key('client:' .. ARGV[1]), ARGV[2], 'EX', 3600)
for lane in pairs(lanes) do redis.call('SADD', key('queues'), string.match(lane, '^q:(.*):%d$')) end
local at = now()
local fresh, index = {}, {}
n = 3
while n <= #ARGV do
  local lane, custom, count = ARGV[n], ARGV[n + 3] == '1', tonumber(ARGV[n + 4])
  local stream, due = lanes[lane], ARGV[n + 2] == '' and at + tonumber(ARGV[n + 1]) or tonumber(ARGV[n + 2])
  for job = n + 5, n + 3 + 2 * count, 2 do
    local id, sealed = ARGV[job], ARGV[job + 1]
    local known = custom
      and (fresh[id] or redis.call('HEXISTS', key('index'), id) == 1 or redis.call('EXISTS', key('r:' .. id)) == 1)
    if not known then
      fresh[id] = true
      if due > at then hold('S', due, lane, id, sealed, '')
      else
        index[#index + 1] = id
        index[#index + 1] = lane .. '|' .. redis.call('XADD', stream, '*', 'i', id, 'j', sealed)
      end
    end
  end
  n = n + 5 + 2 * count
end
if #index > 0 then redis.call('HSET', key('index'), unpack(index)) end
return 1
