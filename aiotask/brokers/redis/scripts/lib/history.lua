-- Counters, and the finished jobs that wait for the recorder.
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
  local waiting, oldest = add_up('unrecorded', count), nil
  for _ = 1, 2 do
    if waiting <= HISTORY_ROWS then return end
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
  if row_bytes > HISTORY_BYTES then write_kept() end
end
