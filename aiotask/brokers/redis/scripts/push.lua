-- A batch of plain jobs: each goes to its lane at once, under an id that the client made, into a queue without a limit of
-- pending jobs. Any other batch is for ``push_special.lua``; both number the batches of a client in one row.
-- KEYS: prefix.  ARGV: client, sequence, whether the batch before was sent along ('1' or ''), then groups of jobs that have the
-- first in common: lane, how many, and per job: id, sealed.
-- Returns 1 when the batch is in, 0 when it was a repeat, -1 when the one that was sent along before it is not in. Everything is
-- checked before the first write; the first write is one that a full server refuses.
-- Needs: core index
local session, sequence = key('client:' .. ARGV[1]), tonumber(ARGV[2])
-- Of a plain batch nothing is ever refused, so what may stand behind the number is not its own.
local last = tonumber(string.match(redis.call('GET', session) or '', '^%d+'))
if last and sequence <= last then return 0 end
if ARGV[3] == '1' and last ~= sequence - 1 then return -1 end

-- 1. Whether all of it can be written, and what goes to the index: fields and places by bucket; where each job has its place.
local queues, index, new_buckets, homes, positions, count, n = {}, {}, {}, {}, {}, 0, 4
while n <= #ARGV do
  local lane, to = ARGV[n], n + 2 * tonumber(ARGV[n + 1])
  redis.call('XLEN', key(lane))
  local queue = string.match(lane, '^q:(.*):%d$')
  if not queues[queue] then queues[queue], queues[#queues + 1] = true, queue end
  for job = n + 2, to, 2 do
    local bucket, field = bucket_of(ARGV[job])
    local places = index[bucket]
    if not places then
      places = {}
      index[bucket] = places
      if redis.call('HLEN', key('index:' .. bucket)) == 0 then new_buckets[#new_buckets + 1] = bucket end
    end
    local size = #places + 1
    count = count + 1
    places[size], places[size + 1], homes[count], positions[count] = field, '', places, size + 1
  end
  n = to + 2
end
-- Tried on a key that never exists: whether there is room, and this user may write.
redis.call('XADD', key('r:'), 'NOMKSTREAM', '*', 'j', '')
local is_first = redis.call('SCARD', key('index')) == 0 and redis.call('EXISTS', key('queues')) == 0

-- 2. The first writes.
if #queues > 0 then redis.call('SADD', key('queues'), unpack(queues)) end
if #new_buckets > 0 then redis.call('SADD', key('index'), unpack(new_buckets)) end
if is_first then redis.call('SADD', key('index'), '.') end
-- A relay that died may send its batch again much later. The second batch of an outbox says that the first is deleted.
local is_relayed = sequence == 1 and string.find(ARGV[1], OUTBOX_CLIENT, 1, true) == 1
redis.call('SET', session, ARGV[2], 'EX', is_relayed and OUTBOX_TTL or CLIENT_TTL)

-- 3. The jobs get their places.
n, count = 4, 0
while n <= #ARGV do
  local lane, to = ARGV[n], n + 2 * tonumber(ARGV[n + 1])
  local stream = key(lane)
  for job = n + 3, to + 1, 2 do
    count = count + 1
    homes[count][positions[count]] = lane .. '|' .. redis.call('XADD', stream, '*', 'j', ARGV[job])
  end
  n = to + 2
end
for bucket, places in pairs(index) do redis.call('HSET', key('index:' .. bucket), unpack(places)) end
return 1
