-- How jobs are parked. A limited job keeps its place in its line, in the field l of its entry.
-- Needs: core index lanes history

-- The place of a parked job in its line; nil: it has none.
local function line_of_parked(lane, entry)
  if string.sub(lane, 1, 7) ~= 'parked:' then return nil end
  local found = redis.call('XRANGE', key(lane), entry, entry)
  local fields = found[1] and found[1][2] or {}
  for n = 1, #fields, 2 do
    if fields[n] == 'l' and string.match(fields[n + 1], '^l:[^:]+:%d:[^:]+:.*|%d*$') then return fields[n + 1] end
  end
end

-- Whether this is the need of a pause that is over.
local function is_pause_over(need)
  local pause = string.match(need, '^pause:(.*)@')
  return pause and redis.pcall('HEXISTS', key('paused'), pause) == 0
end

-- ``line``: the place of a limited job in its line. Those of a paused task have a lane of their own: resume.lua puts them back
-- into their lines, and workers take the others.
local function park(need, id, sealed, meta, line)
  if line and string.match(need, '^pause:.*@[^:]*$') then need = need .. LINED end
  redis.call('SADD', key('parked'), need)
  local lane = 'parked:' .. need
  ensure_group(lane)
  if not line then return put_one(lane, id, sealed, meta) end
  local bucket, field = bucket_of(id)
  local entry = redis.call('XADD', key(lane), '*', 'j', sealed, 'm', meta, 'l', line)
  write_index({ [bucket] = { field, lane .. '|' .. entry } })
end

-- Another pause stands, or one less: every live incarnation looks. A worker that has not yet, and admits a job, sees it by the number
-- of changes.
local function tell_of_pauses()
  add_up('pauses', 1)
  redis.call('DEL', key('stats'))
  local incarnations, frame = redis.call('HKEYS', key('live')), struct.pack('>BI2I4', 1, 0, 0)
  for n = 1, #incarnations do
    if incarnations[n] ~= '' then redis.call('PUBLISH', key('to:' .. incarnations[n]), frame) end
  end
end
