-- KEYS: prefix.  ARGV: queue.
-- Returns how many of its jobs are in lines, and a list per lane in which jobs wait: lane, how many, the entry behind which they
-- begin, and the times (ms) at which the first and the last of them came there.
-- Needs: core
local lined = redis.pcall('GET', key('lined:' .. ARGV[1]))
local reply = { type(lined) == 'string' and tonumber(lined) or 0 }
for kind in string.gmatch(LANE_KINDS, '.') do
  local lane = 'q:' .. ARGV[1] .. ':' .. kind
  local length, claimed, behind = redis.call('XLEN', key(lane)), 0, '0-0'
  local groups = length > 0 and redis.pcall('XINFO', 'GROUPS', key(lane)) or {}
  for _, group in ipairs(not groups.err and groups or {}) do
    local facts = {}
    for n = 1, #group, 2 do facts[group[n]] = group[n + 1] end
    if facts.name == GROUP then claimed, behind = facts.pending, facts['last-delivered-id'] end
  end
  if length > claimed then
    local first = redis.call('XRANGE', key(lane), '(' .. behind, '+', 'COUNT', 1)[1]
    local last = redis.call('XREVRANGE', key(lane), '+', '-', 'COUNT', 1)[1]
    if first and last then
      reply[#reply + 1] = { lane, length - claimed, behind, string.match(first[1], '^%d+'), string.match(last[1], '^%d+') }
    end
  end
end
return reply
