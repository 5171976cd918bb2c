-- KEYS: prefix.  ARGV: due, dead or graphs; score and id of the member behind which it begins ('' and '' at its beginning); how
-- many; and for jobs status ('' of any, else SCHEDULED or RETRYING), queue, task, first characters of the id and text in the
-- envelope ('' any).
-- Returns score and id behind which it goes on ('' and '' where nothing is left), how many it has looked at, then a list per member:
-- id, score, and of a job place in the index and what it is kept as. Jobs that are due go by time, dead letters too, but the latest first. It looks at a
-- bounded number of members.
-- Needs: core index due sorted
-- Members that are looked at; bytes of an envelope within which are its id, task and queue.
local LOOK, HEAD = 120, 2048
local name, after, after_id, wanted = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local status, queue, task, start, part = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local command = name == 'dead' and 'ZREVRANGE' or 'ZRANGE'

local function is_wanted(lane, sealed)
  if part ~= '' and not string.find(sealed, part, SEAL_BYTES + 1, true) then return false end
  if queue == '' and task == '' then return true end
  local head = string.sub(sealed, SEAL_BYTES + 1, SEAL_BYTES + HEAD)
  local ok, _, _, _, named, sent_to = pcall(cmsgpack.unpack_limit, head, 4, 1)
  if task ~= '' and not (ok and named == task) then return false end
  return queue == '' or (lane and string.match(lane, '^q:(.*):%w$') or ok and sent_to) == queue
end

-- Whether the facts of a dead letter, if it has any, match: letters are large.
local function is_likely(id)
  if queue == '' and task == '' then return true end
  local facts = redis.pcall('HGET', key('dead:facts'), id)
  local ok, known = pcall(cmsgpack.unpack, type(facts) == 'string' and facts or '')
  if not ok or type(known) ~= 'table' then return true end
  local of, from = tostring(known[1]), tostring(known[2])
  return (task == '' or string.sub(task, 1, #of) == of) and (queue == '' or string.sub(queue, 1, #from) == from)
end

local first = rank_behind(name, command, after, after_id)
local page = redis.call(command, key(name), first, first + LOOK - 1, 'WITHSCORES')
local reply, bytes = { '', '', 0 }, 0
for n = 1, #page, 2 do
  local id, score = page[n], page[n + 1]
  reply[3] = reply[3] + 1
  if name == 'graphs' then
    reply[#reply + 1] = { id, score }
    wanted = wanted - 1
  elseif string.sub(id, 1, #start) == start then
    local place, kept, lane, sealed, _ = '', nil, nil, nil, nil
    if name == 'due' then
      place = place_in_index(id) or ''
      if status == '' or (place == 'due|R') == (status == 'RETRYING') then kept = redis.call('HGET', key('held'), id) end
      if kept then lane, _, sealed = unpack_held(kept) end
    else
      if is_likely(id) then kept = redis.call('HGET', key('dead:jobs'), id) end
      if kept and #kept > 3 then sealed = string.sub(kept, 5, 4 + struct.unpack('>I4', kept)) end
    end
    bytes = bytes + (kept and #kept or 0)
    if kept and is_wanted(lane, sealed or '') then
      reply[#reply + 1] = { id, score, place, kept }
      wanted = wanted - 1
    end
  end
  if wanted <= 0 or bytes > BATCH_BYTES or n + 1 >= 2 * LOOK then
    if n + 1 < #page or #page == 2 * LOOK then reply[1], reply[2] = score, id end
    return reply
  end
end
return reply
