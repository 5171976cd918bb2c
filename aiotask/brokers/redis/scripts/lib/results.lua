-- The end of a job: its outcome stored and told, its traces removed.
-- Needs: core index history

local RESULT = key('r:')
-- Frames for the results channel, gathered per address and published once at the end.
local telling = {}

-- An outcome that is not stored cannot be looked up: it travels whole, however large.
local function tell(address, id, outcome, whole)
  if address == '' then return end
  local frames = telling[address]
  if frames == nil then
    local listeners = redis.call('PUBSUB', 'NUMSUB', key('to:' .. address))
    frames = { heard = tonumber(listeners[2]) > 0 }
    telling[address] = frames
  end
  if not frames.heard then return end
  if outcome and (whole or #outcome <= INLINE_BYTES) then
    frames[#frames + 1] = struct.pack('>BI2', 0, #id) .. id .. struct.pack('>I4', #outcome) .. outcome
  else
    frames[#frames + 1] = struct.pack('>BI2', 1, #id) .. id .. struct.pack('>I4', 0)
  end
end

local function tell_watchers(id, outcome, whole)
  local addresses = redis.call('HGET', key('watch'), id)
  if not addresses then return end
  for address in string.gmatch(addresses, '[^,]+') do tell(address, id, outcome, whole) end
end

-- The end of a job that is out of its lane already: outcome stored and told; ``wind_up`` removes all traces.
local recording, watched, has_marks, has_begun = false, false, false, false

local ended, tally = {}, {}
-- Which keys there are that an ending writes to besides, and whether each is of its type; an error here comes before the
-- first write. Of most of them there is none.
local function check_ending()
  local history, watch, marks, begun = key('history'), key('watch'), key('marks'), key('begun')
  if redis.call('EXISTS', history, watch, marks, begun) > 0 then
    recording = redis.call('XLEN', history) > 0 or redis.call('EXISTS', history) == 1
    watched, has_marks = redis.call('HLEN', watch) > 0, redis.call('HLEN', marks) > 0
    has_begun = redis.call('HLEN', begun) > 0
  end
end

-- ``ttl`` is text, milliseconds.
local function conclude(id, outcome, status, ttl, reply, sealed, meta)
  local stored = ttl ~= '0'
  if stored then redis.call('SET', RESULT .. id, outcome, 'PX', ttl) end
  if reply ~= '' then tell(reply, id, outcome, not stored) end
  if watched then tell_watchers(id, outcome, not stored) end
  ended[#ended + 1] = id
  tally[status] = (tally[status] or 0) + 1
  if recording then keep_row(sealed, outcome, meta) end
end

-- To be called once, at the end of a script that concludes or tells.
local function wind_up()
  if #ended > 0 then
    leave_index(ended)
    if has_marks then redis.call('HDEL', key('marks'), unpack(ended)) end
    if has_begun then redis.call('HDEL', key('begun'), unpack(ended)) end
    if watched then redis.call('HDEL', key('watch'), unpack(ended)) end
    for status, count in pairs(tally) do add_up(status, count) end
  end
  if row_count > 0 then write_kept() end
  for address, frames in pairs(telling) do
    if #frames > 0 then redis.call('PUBLISH', key('to:' .. address), table.concat(frames)) end
  end
end

-- The outcome that was left for a job in this hash, and its TTL (ms); what can be neither is removed.
local function left_for(name, id)
  local left = redis.call('HGET', key(name), id)
  if not left then return nil end
  local ttl = #left > 7 and struct.unpack('>I8', left)
  if ttl and ttl < 1e13 then return string.sub(left, 9), string.format('%.0f', ttl) end
  redis.call('HDEL', key(name), id)
end

-- Somebody asked to cancel this job, or it had begun and runs once at most: it ends with the outcome that was left for
-- it. True if so.
local function marked(id, sealed, meta)
  local status, outcome, ttl = 'CANCELLED', left_for('marks', id)
  if not outcome then
    status = 'FAILED'
    outcome, ttl = left_for('begun', id)
  end
  if not outcome then return false end
  conclude(id, outcome, status, ttl, address_of(sealed), sealed, meta)
  return true
end
