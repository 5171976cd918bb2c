-- The end of a job: its outcome stored and published, its traces removed.
-- Needs: core nodes index history

local RESULT = key('r:')

-- The endings of one call of a script. Each script that ends jobs or publishes notices opens them before its first write,
-- hands them to what it calls, and closes them at its end. Opened, they say which of the other keys that an ending writes to
-- exist, and that each is of its type: the error for a wrong type is raised here. Most of these keys do not exist.
--   rows: those of the history (``open_rows``), where finished jobs are kept for a recorder.  watch, marks, begun: the hash of
--   this name has something in it.
--   undo: called with the ids that ended, where jobs may be special.  ids, counts: of the jobs that ended.  frames: for the
--   results channel, by address.
local function open_endings()
  local endings = { ids = {}, counts = {}, frames = {} }
  local history, watch, marks, begun = key('history'), key('watch'), key('marks'), key('begun')
  if redis.call('EXISTS', history, watch, marks, begun) > 0 then
    endings.rows = (redis.call('XLEN', history) > 0 or redis.call('EXISTS', history) == 1) and open_rows()
    endings.watch, endings.marks = redis.call('HLEN', watch) > 0, redis.call('HLEN', marks) > 0
    endings.begun = redis.call('HLEN', begun) > 0
  end
  return endings
end

-- Frames are gathered by address and published once. An outcome that is not stored cannot be looked up: it travels whole,
-- however large.
local function notify(endings, address, id, outcome, whole)
  if address == '' then return end
  local frames = endings.frames[address]
  if frames == nil then
    local listeners = redis.call('PUBSUB', 'NUMSUB', key('to:' .. address))
    frames = { has_listeners = tonumber(listeners[2]) > 0 }
    endings.frames[address] = frames
  end
  if not frames.has_listeners then return end
  if outcome and (whole or #outcome <= INLINE_BYTES) then
    frames[#frames + 1] = struct.pack('>BI2', 0, #id) .. id .. struct.pack('>I4', #outcome) .. outcome
  else
    frames[#frames + 1] = struct.pack('>BI2', 1, #id) .. id .. struct.pack('>I4', 0)
  end
end

local function notify_watchers(endings, id, outcome, whole)
  local addresses = redis.call('HGET', key('watch'), id)
  if not addresses then return end
  for address in string.gmatch(addresses, '[^,]+') do notify(endings, address, id, outcome, whole) end
end

-- The field of ``counts`` for jobs that end in a status: those of a lane, or the one in an envelope. The queue is empty where the
-- lane is one of parked jobs.
local function counter_of(lane, status) return (string.match(lane, '^q:(.*):%w$') or '') .. '|' .. status end
local function counter_in(sealed, status) return peek(sealed) .. '|' .. status end

-- A job that is out of its lane already ends: its outcome is stored and published. ``counter`` is a field of ``counts``; ``ttl``
-- is text, milliseconds.
local function conclude(endings, id, outcome, counter, ttl, reply, sealed, meta)
  local ids, counts, stored = endings.ids, endings.counts, ttl ~= '0'
  if stored then redis.call('SET', RESULT .. id, outcome, 'PX', ttl) end
  if reply ~= '' then notify(endings, reply, id, outcome, not stored) end
  if endings.watch then notify_watchers(endings, id, outcome, not stored) end
  ids[#ids + 1] = id
  counts[counter] = (counts[counter] or 0) + 1
  if endings.rows then endings.rows.keep(sealed, outcome, meta) end
end

-- The door through which every job goes: undoes all that there is of these beside lane and outcome. ``traces`` says which
-- hashes may have something of them, and what else is undone (``special.lua``); ``counts`` how many ended, by field of ``counts``
-- (nil: they end in none).
local function ended(ids, traces, counts)
  leave_index(ids)
  if traces.marks then redis.call('HDEL', key('marks'), unpack(ids)) end
  if traces.begun then redis.call('HDEL', key('begun'), unpack(ids)) end
  if traces.watch then redis.call('HDEL', key('watch'), unpack(ids)) end
  if traces.undo then traces.undo(ids) end
  for counter, count in pairs(counts or {}) do add_up(counter, count) end
end

local function close_endings(endings)
  if #endings.ids > 0 then ended(endings.ids, endings, endings.counts) end
  if endings.rows then endings.rows.flush() end
  for address, frames in pairs(endings.frames) do
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

-- A job that was to be cancelled, or that had begun and runs once at most, ends with the outcome that was left for it. True
-- if so.
local function marked(endings, id, sealed, meta)
  local status, letter, outcome, ttl = 'CANCELLED', 'c', left_for('marks', id)
  if not outcome then
    status, letter = 'FAILED', 'f'
    outcome, ttl = left_for('begun', id)
  end
  if not outcome then return false end
  conclude(endings, id, outcome, counter_in(sealed, status), ttl, address_of(sealed), sealed, meta)
  leave_graph(id, letter, sealed, outcome)
  return true
end
