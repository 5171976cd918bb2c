-- Places in sorted sets.
-- Needs: core

-- Whether the bytes of a text come first: Lua compares as the locale of the server says, and sorted sets do not.
local function is_before(one, other)
  for n = 1, #one do
    local a, b = string.byte(one, n), string.byte(other, n)
    if a ~= b then return b ~= nil and a < b end
  end
  return #one < #other
end

-- The rank of the first member of a sorted set behind the given one, which may be gone, in the order of the command.
local function rank_behind(name, command, after, after_id)
  if after == '' then return 0 end
  local low, high, bound = 0, redis.call('ZCARD', key(name)), tonumber(after) or math.huge
  while low < high do
    local middle = math.floor((low + high) / 2)
    local found = redis.call(command, key(name), middle, middle, 'WITHSCORES')
    local score, id = tonumber(found[2]) or math.huge, found[1]
    local is_behind
    if score ~= bound then is_behind = (score > bound) == (name ~= 'dead')
    else is_behind = id ~= after_id and is_before(id, after_id) == (name == 'dead') end
    if is_behind then high = middle else low = middle + 1 end
  end
  return low
end
