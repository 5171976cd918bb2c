-- The end of a job that no worker has.
-- Needs: core nodes index due limits history results

-- Nodes that waited and do not any more, in this call.
local concluded_waiting = 0

-- Ends a job that waits for its turn, its time, a worker or other jobs: its outcome is stored and told. Returns true; false
-- where it is not known; nil and the owner, who decides then, where a worker has it.
local function end_unstarted(endings, id, outcome, status, ttl)
  local at = place_in_index(id)
  local letter, lane, entry = letter_of(status), nil, nil
  if at then lane, entry = place_of(at) end
  if not at then
    local number, gid = waiting_node(id)
    if not number then return false end
    local name = key('g:' .. gid)
    local sealed = sealed_in(redis.call('HGET', name, 'e' .. number))
    redis.call('HDEL', name, 'o' .. number)
    concluded_waiting = concluded_waiting + 1
    conclude(endings, id, outcome, counter_in(sealed, status), ttl, address_of(sealed), sealed, '')
    -- The graph has its envelope.
    leave_graph(id, letter, '', outcome)
    return true
  end
  if not lane then return false end
  if lane == 'due' then
    local target, meta, sealed = unpack_held(redis.call('HGET', key('held'), id) or struct.pack('>I2I2', 0, 0))
    if is_foreign_lane(target) then return false end
    redis.call('ZREM', key('due'), id)
    if redis.call('EXISTS', key('due'), key('wake')) == 0 then redis.call('DEL', key('clock')) end
    redis.call('HDEL', key('held'), id)
    conclude(endings, id, outcome, counter_in(sealed, status), ttl, address_of(sealed), sealed, meta)
    leave_graph(id, letter, sealed, outcome)
    return true
  end
  if string.byte(lane) == 108 then
    local sealed, meta = lines().take_out(lane, id)
    if not sealed then return false end
    conclude(endings, id, outcome, counter_in(sealed, status), ttl, address_of(sealed), sealed, meta)
    leave_graph(id, letter, sealed, outcome)
    return true
  end
  local pending = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
  if type(pending) == 'table' and not pending.err and #pending > 0 then return nil, pending[1][2] end
  local _, sealed, meta = read(lane, entry)
  if not sealed then return false end
  redis.call('XDEL', key(lane), entry)
  conclude(endings, id, outcome, counter_in(sealed, status), ttl, address_of(sealed), sealed, meta)
  leave_graph(id, letter, sealed, outcome)
  return true
end

local function close_unstarted(endings)
  if concluded_waiting > 0 then add_up('WAITING', -concluded_waiting) end
  close_endings(endings)
end
