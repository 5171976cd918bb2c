-- What is not due yet: a time in ``due``, and beside it the job in ``held``.
-- Needs: core index

-- A job that waits for some seconds does not wait an hour longer because the server's clock was set back an hour: then
-- due times that are no moments (etas) are set back too, and so is what a rate holds, in ``wake``. ``clock`` is the latest time
-- that was seen while some wait; it is at most half a second old, so nothing comes early.
local function heed(at)
  local seen = redis.pcall('GET', key('clock'))
  seen = type(seen) == 'string' and tonumber(seen) or nil
  if seen and at >= seen - 1 and at < seen + 0.5 then return end
  redis.call('ZREM', key('due'), '')
  if seen and at < seen then
    local back = seen - at
    for _, name in ipairs({ 'due', 'wake' }) do
      local start, count = 0, 0
      repeat
        local page, moved = redis.call('ZRANGE', key(name), start, start + 499, 'WITHSCORES'), {}
        count = #page / 2
        for n = 1, #page, 2 do
          local ok, found = true, nil
          if name == 'due' then ok, found = pcall(place_in_index, page[n]) end
          if not ok or not found or found ~= 'due|E' and not is_foreign(found) then
            moved[#moved + 1] = tonumber(page[n + 1]) - back
            moved[#moved + 1] = page[n]
          end
        end
        if #moved > 0 then redis.call('ZADD', key(name), unpack(moved)) end
        start = start + 500
      until count < 500
    end
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
