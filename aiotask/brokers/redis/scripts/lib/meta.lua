-- The counters beside an envelope: a msgpack array of attempt, deaths, reason, obituary, series, saved, trail, and of what later
-- releases append to it.
-- Needs: core

-- The position behind the msgpack value at this one. cmsgpack knows no bytes, and says of no value where it ends.
local function step_over(packed, at, depth)
  local head = string.byte(packed, at)
  if not head or depth > 16 then error('no msgpack') end
  local next_at, values = at + 1, 0
  if head < 0x80 or head >= 0xe0 or head == 0xc0 or head == 0xc2 or head == 0xc3 then return next_at end
  if head < 0x90 then values = 2 * (head - 0x80)
  elseif head < 0xa0 then values = head - 0x90
  elseif head < 0xc0 then next_at = next_at + head - 0xa0
  else
    -- Bytes of a value of fixed size, and of the size of others.
    local fixed = ({ [0xca] = 4, [0xcb] = 8, [0xcc] = 1, [0xcd] = 2, [0xce] = 4, [0xcf] = 8, [0xd0] = 1, [0xd1] = 2,
      [0xd2] = 4, [0xd3] = 8, [0xd4] = 2, [0xd5] = 3, [0xd6] = 5, [0xd7] = 9, [0xd8] = 17 })[head]
    local width = ({ [0xc4] = 1, [0xc5] = 2, [0xc6] = 4, [0xc7] = 1, [0xc8] = 2, [0xc9] = 4, [0xd9] = 1, [0xda] = 2,
      [0xdb] = 4, [0xdc] = 2, [0xdd] = 4, [0xde] = 2, [0xdf] = 4 })[head]
    if fixed then next_at = next_at + fixed
    else
      local size = struct.unpack('>I' .. width, packed, next_at)
      next_at = next_at + width
      if head >= 0xde then values = 2 * size
      elseif head >= 0xdc then values = size
      else next_at = next_at + size + (head >= 0xc7 and head <= 0xc9 and 1 or 0) end
    end
  end
  if next_at > #packed + 1 then error('no msgpack') end
  for _ = 1, values do next_at = step_over(packed, next_at, depth + 1) end
  return next_at
end

-- The fields of an array, each as its bytes.
local function fields_in(packed)
  local head = string.byte(packed, 1) or 0
  local count, at, fields = head - 0x90, 2, {}
  if head == 0xdc then count, at = struct.unpack('>I2', packed, 2), 4
  elseif count < 0 or count > 15 then error('no array') end
  for n = 1, count do
    local next_at = step_over(packed, at, 1)
    fields[n], at = string.sub(packed, at, next_at - 1), next_at
  end
  if at ~= #packed + 1 then error('no array') end
  return fields
end

-- A number, or another where there is none.
local function number_in(field, otherwise)
  local number = field and cmsgpack.unpack(field)
  return type(number) == 'number' and number or otherwise
end

-- An array of these fields.
local function array_of(fields)
  local count = #fields
  local head = count < 16 and string.char(0x90 + count) or string.char(0xdc) .. struct.pack('>I2', count)
  return head .. table.concat(fields)
end

-- The first counters of a job, five at least. Where this is no array of counters, they begin anew.
local function counters_in(meta)
  local read_some, fields = pcall(fields_in, meta)
  if not read_some then fields = {} end
  local fresh = { cmsgpack.pack(1), cmsgpack.pack(0), cmsgpack.pack(''), string.char(0xc0), cmsgpack.pack(0) }
  for n = 1, 5 do fields[n] = fields[n] or fresh[n] end
  return fields
end

-- The counters of a job that has a checkpoint.
local function with_checkpoint(meta)
  local fields = counters_in(meta)
  fields[6] = string.char(0xc3)
  return array_of(fields)
end

-- A trail with one run more, whose process died or whose host was lost: the last ones, in 2 kB at most.
local function with_run(trail, who, how, reason)
  local read_some, runs = pcall(fields_in, trail or '')
  if not read_some then runs = {} end
  local bytes, kept = 0, {}
  runs[#runs + 1] = array_of({ cmsgpack.pack(now()), cmsgpack.pack(string.sub(who, 1, TRAIL_WORKER)), cmsgpack.pack(how),
    cmsgpack.pack(string.sub(reason, 1, TRAIL_ERROR)) })
  for n = #runs, math.max(1, #runs - TRAIL + 1), -1 do
    bytes = bytes + #runs[n]
    if bytes > TRAIL_BYTES then break end
    table.insert(kept, 1, runs[n])
  end
  return array_of(kept)
end

-- One death more, with its reason and its obituary (msgpack). What follows the trail stays byte for byte. Where this is no
-- array of counters, counting begins anew.
local function strike(meta, reason, obituary, who)
  local read_some, fields, attempt, deaths, series = pcall(function()
    local found = fields_in(meta)
    return found, number_in(found[1], 1), number_in(found[2], 0), number_in(found[5], 0)
  end)
  if not read_some then fields, attempt, deaths, series = {}, 1, 0, 0 end
  fields[1], fields[2], fields[3] = cmsgpack.pack(attempt), cmsgpack.pack(deaths + 1), cmsgpack.pack(reason)
  fields[4], fields[5] = obituary, cmsgpack.pack(series)
  fields[6], fields[7] = fields[6] or string.char(0xc2), with_run(fields[7], who, 'died', reason)
  return array_of(fields)
end

-- The counters of a job whose host was lost, which is no death of its doing.
local function with_loss(meta, who)
  local fields = counters_in(meta)
  fields[6], fields[7] = fields[6] or string.char(0xc2), with_run(fields[7], who, 'lost', LOSS)
  return array_of(fields)
end
