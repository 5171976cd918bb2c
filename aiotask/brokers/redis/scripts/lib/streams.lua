-- What jobs emit and report while they run.
-- Needs: core

-- Whether this incarnation has the job. A worker that was declared dead has lost it once another one has the entry.
local function is_claimed(lane, entry, incarnation)
  local pending = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1, incarnation)
  return type(pending) == 'table' and not pending.err and #pending > 0
end

local function number_of(entry) return tonumber(string.match(entry, '^%d+')) end

local function frame_of(kind, id, body)
  return struct.pack('>BI2', kind, #id) .. id .. struct.pack('>I4', #body) .. body
end
