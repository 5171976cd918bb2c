-- KEYS: prefix.  ARGV: a lane and the entry behind which it looks, then per job the time (ms) from which on it is looked for; or
-- '' and the queue of jobs in lines, and how many of all lines.
-- Returns the entry behind which it goes on, then the task of each job ('' where it cannot be read): fewer than were asked for where
-- jobs are large. The jobs in lines are chosen by chance.
-- Needs: core index
local HEAD = 2048
local function task_of(sealed)
  local ok, _, _, _, named = pcall(cmsgpack.unpack_limit, string.sub(sealed, SEAL_BYTES + 1, SEAL_BYTES + HEAD), 3, 1)
  return ok and type(named) == 'string' and named or ''
end

local reply, bytes = { ARGV[2] }, 0
if ARGV[1] == '' then
  local ids = redis.pcall('HRANDFIELD', key('lined'), ARGV[3])
  for _, id in ipairs(not ids.err and ids or {}) do
    local kept = bytes <= BATCH_BYTES and redis.call('HGET', key('lined'), id)
    if kept and #kept > 1 and string.match(place_in_index(id) or '', '^l:([^:]+):') == ARGV[2] then
      bytes = bytes + #kept
      reply[#reply + 1] = task_of(string.sub(kept, 3 + struct.unpack('>I2', kept)))
    end
  end
  return reply
end
for n = 3, #ARGV do
  -- Each job once, also where many came at the same time.
  local ms = string.match(reply[1], '^%d+')
  local from = tonumber(ARGV[n]) > tonumber(ms) and ARGV[n] or '(' .. reply[1]
  local entry = redis.call('XRANGE', key(ARGV[1]), from, '+', 'COUNT', 1)[1]
  if not entry then return reply end
  local sealed = fields_of(entry)
  reply[1] = entry[1]
  reply[#reply + 1] = task_of(sealed)
  bytes = bytes + #sealed
  if bytes > BATCH_BYTES then return reply end
end
return reply
