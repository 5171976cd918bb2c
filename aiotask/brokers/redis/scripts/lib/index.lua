-- The index: where each unfinished job is.
-- Needs: core

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

-- Fields and places by bucket, as ``put`` gathers them. Where the caller has looked at the buckets (``is_checked``), they are
-- in the set of them too. A bucket that has the wrong type is otherwise left to people: push and status say so, the rest
-- goes on without it.
local function write_index(index, is_checked)
  for bucket, places in pairs(index) do
    if is_checked then redis.call('HSET', key('index:' .. bucket), unpack(places))
    else
      redis.pcall('HSET', key('index:' .. bucket), unpack(places))
      redis.call('SADD', key('index'), bucket)
    end
  end
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

-- Whether this is a lane that a later release may know: another kind of lane of a queue, or a word that begins no key of
-- this one. What is in it, and what is on its way to it, is left alone.
local function is_foreign_lane(lane)
  local kind = string.match(lane, '^q:.+:(%l)$')
  if kind then return not string.find(LANE_KINDS, kind, 1, true) end
  local word = string.match(lane, '^(%l+):')
  return word ~= nil and not string.find(KEY_WORDS, ' ' .. word .. ' ', 1, true)
end

-- The same of a place: in such a lane, another kind of due, or under a word that begins no key of this release. What stands
-- behind the last bar is printable; other bytes are no place of any release, and would be believed for ever.
local function is_foreign(at)
  local lane, entry = string.match(at, '^(.*)|([ -~]+)$')
  if not lane then return false end
  if lane == 'due' then return string.match(entry, '^[A-DF-QT-Z]$') ~= nil end
  return is_foreign_lane(lane)
    or string.match(lane, '^%l+$') ~= nil and not string.find(KEY_WORDS, ' ' .. lane .. ' ', 1, true)
end

-- The lane and the entry that the index names; nil where something else was written there.
local function place_of(at)
  local lane, entry = string.match(at, '^(.*)|(.*)$')
  if not lane or is_foreign(at) then return nil end
  if lane == 'due' then return lane, entry end
  -- The whole pattern: another program may have keys that begin with this letter.
  if string.match(lane, '^l:[^:]+:%d:[^:]+:') then
    if string.match(entry, '^%d+$') then return lane, entry end
    return nil
  end
  if not (string.match(lane, '^q:') or string.match(lane, '^parked:')) then return nil end
  local ms, number = string.match(entry, '^(%d+)%-(%d+)$')
  if ms and #ms < 20 and #number < 20 then return lane, entry end
end

-- Whether a job is where the index says, which may have been deleted by hand. Of a foreign place that is believed.
local function is_there(id, at)
  local lane, entry = place_of(at)
  if not lane then return is_foreign(at) end
  if lane == 'due' then
    return redis.call('HEXISTS', key('held'), id) == 1 and redis.call('ZSCORE', key('due'), id) ~= false
  end
  -- A line that was deleted by hand is put right from the envelopes.
  if string.byte(lane) == 108 then return redis.call('HEXISTS', key('lined'), id) == 1 end
  return #redis.call('XRANGE', key(lane), entry, entry) > 0
end

-- Whether a job of this id waits or runs.
local function is_unfinished(id)
  local at = place_in_index(id)
  return at and is_there(id, at)
end
