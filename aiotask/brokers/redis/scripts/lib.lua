-- What scripts share: in front of each stands what it uses of this. KEYS[1] is the key prefix of the app; all keys share
-- its hash tag.
-- Rule of every script but push: the first write is one that a full server still allows (XACK, ZREM,
-- HDEL, PEXPIRE), which marks the script dirty, and what follows is then allowed too.
local GROUP = 'w'
local function key(name) return KEYS[1] .. name end
local RESULT = key('r:')

-- ARGV[1], ARGV[2]: incarnation and epoch. 1 live, 0 dead, -1 the server has forgotten everybody.
local function standing(incarnation, epoch)
  if redis.call('HEXISTS', key('live'), incarnation) == 1 then return 1 end
  if redis.call('HGET', key('live'), '') == epoch then return 0 end
  return -1
end

-- A full server lets a script go on once it has written something: this removes what never exists.
local function allow_writes() redis.call('DEL', key('r:')) end

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

-- A stream entry as envelope, meta.
local function fields_of(entry)
  local fields = entry[2]
  if #fields == 2 and fields[1] == 'j' then return fields[2], '' end
  local sealed, meta = '', ''
  for n = 1, #fields, 2 do
    if fields[n] == 'j' then sealed = fields[n + 1]
    elseif fields[n] == 'm' then meta = fields[n + 1] end
  end
  return sealed, meta
end

-- The id inside a sealed envelope, which is nowhere else: 21 bytes of seal, then a msgpack array of fewer than 16 fields,
-- the version, the id. Empty: this is no envelope.
local function id_of(sealed)
  local head = string.byte(sealed, 24) or 0
  if head >= 0xa0 and head <= 0xbf then return string.sub(sealed, 25, head - 136) end
  if head == 0xd9 then return string.sub(sealed, 26, 25 + (string.byte(sealed, 25) or 0)) end
  return ''
end

-- The entry with this number as id, envelope, meta; nil when it is gone.
local function read(lane, entry)
  local found = redis.call('XRANGE', key(lane), entry, entry)
  if #found == 0 then return nil end
  local sealed, meta = fields_of(found[1])
  return id_of(sealed), sealed, meta
end

-- Where the index has an id: the bucket, and the field in there. Sixteen ids that a client makes one after another share a
-- bucket, which the server keeps packed; those of the user's own share one that is not.
local function bucket_of(id)
  if string.byte(id, 18) == 45 then return string.sub(id, 1, -2), string.sub(id, -1) end
  return '', id
end
local function place_in_index(id)
  local bucket, field = bucket_of(id)
  return redis.call('HGET', key('index:' .. bucket), field)
end
-- A bucket that has the wrong type is somebody's to mend: push and status say so, the rest goes on without.
local function write_index(id, at)
  local bucket, field = bucket_of(id)
  redis.pcall('HSET', key('index:' .. bucket), field, at)
  redis.call('SADD', key('index'), bucket)
end
local function leave_index(ids)
  local buckets, empty, last, fields = {}, {}, nil, nil
  for n = 1, #ids do
    local bucket, field = bucket_of(ids[n])
    if bucket ~= last then
      last, fields = bucket, buckets[bucket]
      if not fields then
        fields = {}
        buckets[bucket] = fields
      end
    end
    fields[#fields + 1] = field
  end
  for bucket, fields in pairs(buckets) do
    local name = key('index:' .. bucket)
    redis.pcall('HDEL', name, unpack(fields))
    if redis.call('EXISTS', name) == 0 then empty[#empty + 1] = bucket end
  end
  if #empty > 0 then redis.pcall('SREM', key('index'), unpack(empty)) end
end

-- Into a lane, and the index says so.
local function place(lane, id, sealed, meta)
  local entry
  if meta == '' then entry = redis.call('XADD', key(lane), '*', 'j', sealed)
  else entry = redis.call('XADD', key(lane), '*', 'j', sealed, 'm', meta) end
  write_index(id, lane .. '|' .. entry)
end

-- Whoever waits for so many seconds does not wait an hour longer because the server's clock was set back an hour: then
-- due times that are no moments (etas) are set back too. ``clock`` is the latest time that was seen while some wait; it is
-- at most half a second old, so nothing comes early.
local function heed(at)
  local seen = redis.pcall('GET', key('clock'))
  seen = type(seen) == 'string' and tonumber(seen) or nil
  if seen and at >= seen - 1 and at < seen + 0.5 then return end
  redis.call('ZREM', key('due'), '')
  if seen and at < seen then
    local start, back = 0, seen - at
    repeat
      local page = redis.call('ZRANGE', key('due'), start, start + 499, 'WITHSCORES')
      local ids, moved = {}, {}
      for n = 1, #page, 2 do ids[#ids + 1] = page[n] end
      for n = 1, #ids do
        local ok, place = pcall(place_in_index, ids[n])
        if not ok or place ~= 'due|E' then
          moved[#moved + 1] = tonumber(page[2 * n]) - back
          moved[#moved + 1] = ids[n]
        end
      end
      if #moved > 0 then redis.call('ZADD', key('due'), unpack(moved)) end
      start = start + 500
    until #ids < 500
  end
  redis.call('SET', key('clock'), at)
end

-- Outside the stream until it is due; kind is S (scheduled), E (scheduled for a moment) or R (retrying).
local heeded = false
local function hold(kind, at, lane, id, sealed, meta)
  if not heeded then heed(now()); heeded = true end
  redis.call('ZADD', key('due'), at, id)
  redis.call('HSET', key('held'), id, struct.pack('>I2', #lane) .. lane .. struct.pack('>I2', #meta) .. meta .. sealed)
  write_index(id, 'due|' .. kind)
end

-- What is too short was written by somebody else; its lane is none then.
local function unpack_held(packed)
  local n = #packed > 1 and struct.unpack('>I2', packed) or 0
  local lane = string.sub(packed, 3, 2 + n)
  local m = #packed > 3 + n and struct.unpack('>I2', packed, 3 + n) or 0
  return lane, string.sub(packed, 5 + n, 4 + n + m), string.sub(packed, 5 + n + m)
end

-- Frames for the results channel, gathered per address and published once at the end.
local telling = {}
local INLINE = 16384
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
  if outcome and (whole or #outcome <= INLINE) then
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
-- Where something else than a number was written, counting begins anew.
local function add_up(status, count)
  local counted = redis.pcall('HINCRBY', key('counts'), status, count)
  if type(counted) == 'table' then
    redis.pcall('HSET', key('counts'), status, count)
    return count
  end
  return counted
end

-- Rows for the recorder travel together in one entry: how many, and per row the lengths of envelope, outcome and meta, and
-- these. Beyond so many the oldest entries make room.
local MOST_ROWS, MOST_BYTES = 1000000, 65536
local function write_rows(count, packed)
  local written = redis.pcall('XADD', key('history'), '*', 'n', count, 'r', packed)
  -- Where this user may not write any more, jobs end all the same.
  if type(written) == 'table' and written.err then return end
  local waiting, oldest = add_up('unrecorded', count), nil
  for _ = 1, 2 do
    if waiting <= MOST_ROWS then return end
    oldest = redis.call('XRANGE', key('history'), '-', '+', 'COUNT', 1)[1]
    redis.call('XDEL', key('history'), oldest[1])
    waiting = add_up('unrecorded', -(tonumber(oldest[2][2]) or 1))
  end
end
local rows, row_count, row_bytes = {}, 0, 0
local function write_kept()
  write_rows(row_count, table.concat(rows))
  rows, row_count, row_bytes = {}, 0, 0
end
local function keep_row(sealed, outcome, meta)
  local n = #rows
  rows[n + 1], rows[n + 2] = struct.pack('>I4I4I2', #sealed, #outcome, #meta), sealed
  rows[n + 3], rows[n + 4] = outcome, meta
  row_count, row_bytes = row_count + 1, row_bytes + #sealed + #outcome
  if row_bytes > MOST_BYTES then write_kept() end
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

-- What is no job of ours is counted, and a part of it kept for people.
local function set_aside(id, sealed, reason)
  add_up('rejected', 1)
  redis.pcall('XADD', key('aside'), 'MAXLEN', '~', 1000, '*', 'i', string.sub(id, 1, 200), 'j', string.sub(sealed, 1, 65536),
    'reason', string.sub(reason, 1, 1000))
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

-- Queue, reply address and priority inside a sealed envelope (see ``id_of``); for the rare paths on which nobody has
-- decoded it. cmsgpack knows no bytes: the body, field 5, is stepped over by hand.
local function peek(sealed)
  local ok, queue, reply, priority = pcall(function()
    local job = string.sub(sealed, 22)
    local at, _, _, _, queue = cmsgpack.unpack_limit(job, 4, 1)
    local width = ({ [0xc4] = 1, [0xc5] = 2, [0xc6] = 4 })[string.byte(job, at + 1)]
    local body = struct.unpack('>I' .. width, job, at + 2)
    local _, priority, _, reply = cmsgpack.unpack_limit(job, 3, at + 1 + width + body)
    return queue, reply, string.format('%d', priority)
  end)
  if ok and type(queue) == 'string' and type(reply) == 'string' and #priority == 1 then return queue, reply, priority end
  return '', '', ''
end
local function address_of(sealed)
  local _, reply = peek(sealed)
  return reply
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

-- The lane and the entry that the index names; nil where something else was written there.
local function place_of(at)
  local lane, entry = string.match(at, '^(.*)|(.*)$')
  if lane == 'due' then return lane, entry end
  if not lane or not (string.match(lane, '^q:') or string.match(lane, '^parked:')) then return nil end
  local ms, number = string.match(entry, '^(%d+)%-(%d+)$')
  if ms and #ms < 20 and #number < 20 then return lane, entry end
end

-- Whether a job is where the index says; somebody may have deleted that by hand.
local function is_there(id, at)
  local lane, entry = place_of(at)
  if not lane then return false end
  if lane == 'due' then
    return redis.call('HEXISTS', key('held'), id) == 1 and redis.call('ZSCORE', key('due'), id) ~= false
  end
  return #redis.call('XRANGE', key(lane), entry, entry) > 0
end

-- Whether a job of this id waits or runs.
local function is_unfinished(id)
  local at = place_in_index(id)
  return at and is_there(id, at)
end

-- What is to be written to besides by ``place`` and ``hold``, checked before the first write.
local function check_placing()
  redis.call('SCARD', key('index'))
  redis.call('ZCARD', key('due'))
  redis.call('HLEN', key('held'))
  redis.call('SCARD', key('queues'))
  redis.call('SCARD', key('parked'))
end

-- Every command that moves a job, on a key that never exists, before the first that cannot be taken back: where somebody
-- has cut this user's permissions, the script ends here.
local function check_commands()
  local nothing = key('r:')
  redis.call('HDEL', key('live'), ' ')
  redis.call('SET', nothing, '', 'XX')
  redis.call('XADD', nothing, 'NOMKSTREAM', '*', 'j', '')
  redis.call('XACK', nothing, GROUP, '0-1')
  redis.call('XDEL', nothing, '0-1')
  redis.call('ZADD', nothing, 'XX', 0, ' ')
  redis.call('ZREM', nothing, ' ')
  redis.call('HSET', key('live'), ' ', '')
  redis.call('HDEL', key('live'), ' ')
end

-- The lane, or the one that the job comes from where somebody has put something else in its place.
local function sound(lane, from)
  local length = redis.pcall('XLEN', key(lane))
  return type(length) == 'table' and from or lane
end

-- A job that is no longer where it was (that was deleted by hand), or that was none.
local function forget(id)
  redis.call('ZREM', key('due'), id)
  redis.call('HDEL', key('held'), id)
  leave_index({ id })
  redis.call('HDEL', key('marks'), id)
  redis.call('HDEL', key('begun'), id)
  redis.call('HDEL', key('watch'), id)
end

local function ensure_group(lane)
  local made = redis.pcall('XGROUP', 'CREATE', key(lane), GROUP, '0', 'MKSTREAM')
  return not (type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP'))
end

-- Undelivered entries of a lane for this incarnation; makes the group where it is missing.
local function take(lane, incarnation, count)
  local got = redis.pcall('XREADGROUP', 'GROUP', GROUP, incarnation, 'COUNT', count, 'STREAMS', key(lane), '>')
  if type(got) == 'table' and got.err then
    if not string.find(got.err, 'NOGROUP') or not ensure_group(lane) then return {} end
    got = redis.call('XREADGROUP', 'GROUP', GROUP, incarnation, 'COUNT', count, 'STREAMS', key(lane), '>')
  end
  if not got or #got == 0 then return {} end
  return got[1][2]
end
