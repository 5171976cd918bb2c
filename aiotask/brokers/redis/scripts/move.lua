-- KEYS: prefix.  ARGV: queue, then per job: id, seal of the envelope that the caller has opened, envelope for that queue.
-- Moves jobs that no worker has to another queue: what is due keeps its time, what is in a line its number there, and what is
-- parked waits for a worker of that queue, which may park it again. Returns per job 1, or 0 where it has started, has ended, is not
-- known, waits in a graph, or is another job of that id by now.
-- Needs: core index lanes due limits parking repair results
local queue, reply = ARGV[1], {}
check_placing()
allow_writes()

-- The same lane of the queue, or the same place in the line there; nil: no job of this release waits in such a lane.
local function target_in(target)
  local kind = string.match(target, '^q:.+:([0-9rs])$')
  if kind then return 'q:' .. queue .. ':' .. kind end
  local rest = string.match(target, '^l:[^:]+(:%d:[^:]+:.*|%d*)$')
  return rest and 'l:' .. queue .. rest
end

local function target_of_parked(lane, entry, sealed)
  local line = line_of_parked(lane, entry)
  if line then return target_in(line) end
  local _, _, priority = peek(sealed)
  return line_in(sealed) or priority ~= '' and 'q:' .. queue .. ':' .. priority
end

local function move_due(id, seal, sealed)
  local packed = redis.call('HGET', key('held'), id)
  local lane, meta, old = unpack_held(packed or '')
  local target = target_in(lane)
  if not target or string.sub(old, 1, SEAL_BYTES) ~= seal then return 0 end
  redis.call('HSET', key('held'), id, struct.pack('>I2', #target) .. target .. struct.pack('>I2', #meta) .. meta .. sealed)
  return 1
end

local function move_lined(line, number, id, seal, sealed)
  local packed, target = redis.call('HGET', key('lined'), id) or '', target_in(line .. '|' .. number)
  if #packed < 2 or not target then return 0 end
  local size = struct.unpack('>I2', packed)
  if string.sub(packed, 3 + size, 2 + size + SEAL_BYTES) ~= seal then return 0 end
  local _, meta = lines().take_out(line, id)
  put_one(target, id, sealed, meta)
  return 1
end

local function move(id, seal, sealed)
  local at = redis.call('EXISTS', RESULT .. id) == 0 and place_in_index(id)
  if not at then return 0 end
  local lane, entry = place_of(at)
  if not lane then return 0 end
  if lane == 'due' then return move_due(id, seal, sealed) end
  if string.byte(lane) == 108 then return move_lined(lane, entry, id, seal, sealed) end
  local pending = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
  if type(pending) == 'table' and not pending.err and #pending > 0 then return 0 end
  local _, old, meta = read(lane, entry)
  if not old or string.sub(old, 1, SEAL_BYTES) ~= seal then return 0 end
  local target
  if string.sub(lane, 1, 7) == 'parked:' then target = target_of_parked(lane, entry, sealed) else target = target_in(lane) end
  if not target then return 0 end
  redis.call('XDEL', key(lane), entry)
  put_one(sound(target, lane), id, sealed, meta)
  return 1
end

for n = 2, #ARGV, 3 do
  reply[#reply + 1] = move(ARGV[n], ARGV[n + 1], ARGV[n + 2])
  if reply[#reply] == 1 then redis.call('SADD', key('queues'), queue) end
end
redis.call('DEL', key('stats'))
return reply
