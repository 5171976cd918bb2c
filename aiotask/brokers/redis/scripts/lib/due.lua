-- What is not due yet: a time in ``due``, and beside it the job in ``held``.
-- Needs: core index

-- A job that waits for some seconds does not wait an hour longer because the server's clock was set back an hour: then
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
        local ok, found = pcall(place_in_index, ids[n])
        if not ok or not found or found ~= 'due|E' and not is_foreign(found) then
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

-- Outside the lanes until it is due. The clock is looked at once a call, before the first time is written.
local heeded = false
local function hold(due, lane, id, sealed, meta)
  if not heeded then heed(now()); heeded = true end
  redis.call('ZADD', key('due'), due, id)
  redis.call('HSET', key('held'), id, struct.pack('>I2', #lane) .. lane .. struct.pack('>I2', #meta) .. meta .. sealed)
end

-- What is shorter than it says was written by hand; its lane is '' then, and not by chance that of a later release.
local function unpack_held(packed)
  local n = #packed > 1 and struct.unpack('>I2', packed) or 0
  if #packed < 4 + n then return '', '', '' end
  local lane = string.sub(packed, 3, 2 + n)
  local m = struct.unpack('>I2', packed, 3 + n)
  return lane, string.sub(packed, 5 + n, 4 + n + m), string.sub(packed, 5 + n + m)
end
