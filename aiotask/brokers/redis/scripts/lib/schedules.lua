-- Schedules: each is one value in ``schedules``, and in ``fires`` the time of its next run (+inf: it is paused).
-- Needs: core

-- What is in front of declarer and sealed schedule: generation, since, moment, last, paused, horizon, runs, moments, bytes of
-- the declarer. See ``brokers/schedules.py``.
local SCHEDULE_HEAD, SCHEDULE_BYTES = '>ddddddI4c8I2', 62

-- A schedule as a table, from what is kept of it; nil: there is none, or something else was written there.
local function unpacked_schedule(packed)
  if not packed or #packed < SCHEDULE_BYTES then return nil end
  local s, size = { packed = packed }, 0
  s.generation, s.since, s.moment, s.last, s.paused, s.horizon, s.runs, s.moments, size = struct.unpack(SCHEDULE_HEAD, packed)
  s.by = string.sub(packed, SCHEDULE_BYTES + 1, SCHEDULE_BYTES + size)
  s.sealed = string.sub(packed, SCHEDULE_BYTES + size + 1)
  return s
end

local function schedule_of(name)
  return unpacked_schedule(redis.call('HGET', key('schedules'), name))
end

local function packed_schedule(s)
  local head = struct.pack(SCHEDULE_HEAD, s.generation, s.since, s.moment, s.last, s.paused, s.horizon, s.runs, s.moments, #s.by)
  return head .. s.by .. s.sealed
end

local function write_schedule(name, s)
  redis.call('HSET', key('schedules'), name, packed_schedule(s))
end

-- Its next run is to be computed: it counts from now on.
local function begin_anew(name, s, at)
  s.since, s.moment = at, 0
  redis.call('ZADD', key('fires'), s.paused > 0 and '+inf' or string.format('%.17g', at), name)
end

local function remove_schedule(name)
  redis.call('ZREM', key('fires'), name)
  redis.call('HDEL', key('paused:schedules'), name)
  return redis.call('HDEL', key('schedules'), name)
end

-- The moments of a schedule that some code has declared a short while ago, from what ``declared:DECLARER`` has of its name; nil:
-- it has not, or it is of an earlier release, which wrote no time.
local function moments_declared(value, at)
  if not value or #value ~= 16 then return nil end
  local moments, said = struct.unpack('>c8d', value)
  return at - said <= DECLARER_TTL and moments or nil
end

-- Other code that declares a schedule, whose service is live; nil: there is none.
local function declarer_beside(by, name, at)
  for _, other in ipairs(redis.call('SMEMBERS', key('declarers'))) do
    if other ~= by and moments_declared(redis.call('HGET', key('declared:' .. other), name), at) then return other end
  end
end

-- Code that has no generation, and so removes nothing, says no longer what it has not said for a while.
local function forget_silent(by, at)
  local mine = key('declared:' .. by)
  local kept = redis.call('HGETALL', mine)
  for n = 1, #kept, 2 do
    if not moments_declared(kept[n + 1], at) then redis.call('HDEL', mine, kept[n]) end
  end
end

-- Names and times by turns, as the reply has them: name, value, time.
local function add_schedules(reply, pairs_)
  if #pairs_ == 0 then return reply end
  local names = {}
  for n = 1, #pairs_, 2 do names[#names + 1] = pairs_[n] end
  for n, packed in ipairs(redis.call('HMGET', key('schedules'), unpack(names))) do
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = names[n], packed or '', pairs_[2 * n]
  end
  return reply
end
