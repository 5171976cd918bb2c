-- The lanes: streams in which jobs wait and are claimed.
-- Needs: core index

-- Into a lane, and the index says so.
local function place(lane, id, sealed, meta)
  local entry
  if meta == '' then entry = redis.call('XADD', key(lane), '*', 'j', sealed)
  else entry = redis.call('XADD', key(lane), '*', 'j', sealed, 'm', meta) end
  write_index(id, lane .. '|' .. entry)
end

-- The consumer group of a lane, made where there is none; false: something else stands in the place of the lane.
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
