-- What jobs emit and report while they run.
-- Needs: core

-- Whether the run that was given this entry still has the job: another run is given another entry. The name of its worker says
-- nothing: a worker that had to register again has another name by now.
local function is_claimed(lane, entry)
  local pending = redis.pcall('XPENDING', key(lane), GROUP, entry, entry, 1)
  return type(pending) == 'table' and not pending.err and #pending > 0
end

local function number_of(entry) return tonumber(string.match(entry, '^%d+')) end

local function frame_of(kind, id, body)
  return struct.pack('>BI2', kind, #id) .. id .. struct.pack('>I4', #body) .. body
end
