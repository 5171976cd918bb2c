-- Entries of lanes on pages: which of them match, and which of them workers have.
-- Needs: core
-- Bytes of an envelope within which are its id and task.
local HEAD_OF_ENTRY = 2048

-- Whether an entry has the queue (of a parked job), task, first characters of its id, and text that are wanted ('' any).
local function is_on_page(wanted, lane, sealed)
  local queue, task, start, part = wanted.queue, wanted.task, wanted.start, wanted.text
  if start ~= '' and string.sub(id_of(sealed), 1, #start) ~= start then return false end
  if task ~= '' then
    local ok, _, _, _, named = pcall(cmsgpack.unpack_limit, string.sub(sealed, SEAL_BYTES + 1, SEAL_BYTES + HEAD_OF_ENTRY), 3, 1)
    if not ok or named ~= task then return false end
  end
  if part ~= '' and not string.find(sealed, part, SEAL_BYTES + 1, true) then return false end
  return queue == '' or string.sub(lane, 1, 2) == 'q:' or peek(sealed) == queue
end

-- The entry behind which jobs wait that no worker has had.
local function delivered_in(lane)
  local groups = redis.pcall('XINFO', 'GROUPS', key(lane))
  for _, group in ipairs(not groups.err and groups or {}) do
    local facts = {}
    for n = 1, #group, 2 do facts[group[n]] = group[n + 1] end
    if facts.name == GROUP then return facts['last-delivered-id'] end
  end
  return ''
end

-- The consumers that have claimed entries, by entry.
local function claims_in(lane, from, to, count)
  local owners, order = {}, {}
  local rows = redis.pcall('XPENDING', key(lane), GROUP, from, to, count)
  for _, row in ipairs(not rows.err and rows or {}) do
    owners[row[1]], order[#order + 1] = row[2], row[1]
  end
  return owners, order
end
