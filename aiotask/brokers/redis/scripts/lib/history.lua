-- Counters, dead letters, and the finished jobs that wait for a recorder.
-- Needs: core

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
-- these. Beyond HISTORY_ROWS the oldest entries make room.
local function write_rows(count, packed)
  local written = redis.pcall('XADD', key('history'), '*', 'n', count, 'r', packed)
  -- Where this user may not write any more, jobs end all the same.
  if type(written) == 'table' and written.err then return end
  local unrecorded, oldest = add_up('unrecorded', count), nil
  for _ = 1, 2 do
    if unrecorded <= HISTORY_ROWS then return end
    oldest = redis.call('XRANGE', key('history'), '-', '+', 'COUNT', 1)[1]
    redis.call('XDEL', key('history'), oldest[1])
    unrecorded = add_up('unrecorded', -(tonumber(oldest[2][2]) or 1))
  end
end

-- Writes the rows that were kept, and forgets them.
local function write_kept(rows)
  write_rows(rows.count, table.concat(rows))
  for n = #rows, 1, -1 do rows[n] = nil end
  rows.count, rows.bytes = 0, 0
end

local function keep_row(rows, sealed, outcome, meta)
  local n = #rows
  rows[n + 1], rows[n + 2] = struct.pack('>I4I4I2', #sealed, #outcome, #meta), sealed
  rows[n + 3], rows[n + 4] = outcome, meta
  rows.count, rows.bytes = rows.count + 1, rows.bytes + #sealed + #outcome
  if rows.bytes > HISTORY_BYTES then write_kept(rows) end
end

-- The dead letter of a job that has ended, with what searches look at; beyond DEAD_LETTERS the oldest make room.
local function add_dead_letter(id, sealed, outcome, facts)
  redis.call('ZADD', key('dead'), now(), id)
  redis.call('HSET', key('dead:jobs'), id, struct.pack('>I4', #sealed) .. sealed .. outcome)
  redis.pcall('HSET', key('dead:facts'), id, facts)
  local extra = redis.call('ZRANGE', key('dead'), 0, -DEAD_LETTERS - 1)
  for n = 1, #extra do
    redis.call('ZREM', key('dead'), extra[n])
    redis.call('HDEL', key('dead:jobs'), extra[n])
    redis.pcall('HDEL', key('dead:facts'), extra[n])
  end
end
