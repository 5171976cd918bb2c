-- Finds nodes that wait for nothing any more, which happens only where something was deleted or spoiled by hand.
-- Needs: core

-- A graph whose counters may be wrong: ``advance`` walks through its nodes now, and then again and again until it is at rest.
-- ``hurt`` is when it is to do so next.
local function note_damage(gid)
  if redis.call('TYPE', key('g:' .. gid)).ok ~= 'hash' then return end
  redis.call('HSETNX', key('g:' .. gid), 'hurt', 0)
  redis.pcall('ZADD', key('graphs'), now(), gid)
end

-- The job id in the field i of a node, behind the name of its task; empty: something else stands there.
local function id_at(field)
  if not field or #field < 2 then return '' end
  return string.sub(field, 3 + struct.unpack('>I2', field))
end

-- Which of these numbers have not ended, as a set; ``rows``: o and i of each, one behind the other.
local function open_ones(gid, numbers, rows)
  local open, ids, asked = {}, {}, {}
  for n = 1, #numbers do
    local id = id_at(rows[2 * n])
    if rows[2 * n - 1] then open[numbers[n]] = true
    elseif id ~= '' then ids[#ids + 1], asked[#asked + 1] = id, numbers[n] end
  end
  local places = #ids > 0 and redis.pcall('HMGET', key('nodes'), unpack(ids)) or {}
  for n = 1, #ids do
    if places[n] == string.format('%d|%s', asked[n], gid) then open[asked[n]] = true end
  end
  return open
end

-- Whether everything upstream of a node has ended: over, open, or far where that would take more than ``most`` chunks; the
-- letter of the first bad end; the next chunk; and how many edges it has looked at.
local function upstream_of(gid, number, from, letter, most)
  local name, at, looked = key('g:' .. gid), from, 0
  for _ = 1, most do
    local chunk = redis.call('HGET', name, string.format('n%d.%d', number, at))
    if not chunk then return 'over', letter, at, looked end
    local numbers, wanted, bad = {}, {}, {}
    for byte = 1, #chunk - 3, 4 do
      local other = struct.unpack('>I4', chunk, byte)
      numbers[#numbers + 1], bad[#bad + 1] = other, 'b' .. other
      wanted[#wanted + 1], wanted[#wanted + 2] = 'o' .. other, 'i' .. other
    end
    looked = looked + #numbers
    if #numbers > 0 then
      if next(open_ones(gid, numbers, redis.call('HMGET', name, unpack(wanted)))) then return 'open', letter, at, looked end
      for _, how in ipairs(redis.call('HMGET', name, unpack(bad))) do
        if how and letter == 's' then letter = how == 'c' and 'c' or 'f' end
      end
    end
    at = at + 1
    if #chunk < 4 * CHUNK then return 'over', letter, at, looked end
  end
  return 'far', letter, at, looked
end
