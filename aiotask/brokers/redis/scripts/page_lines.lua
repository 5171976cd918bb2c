-- KEYS: prefix.  ARGV: cursor, about how many jobs, queue, task, first characters of the id and text in the envelope ('' any).
-- Returns the cursor behind which it goes on ('0': nothing is left), '' and how many jobs it has looked at, then a list per job that waits in a line: id, line and
-- number, what it is kept as. It looks at a bounded number of jobs.
-- Needs: core index
-- Looks at the table; bytes of an envelope within which are its task and queue.
local LOOKS, HEAD = 20, 2048
local cursor, wanted, queue, task, start, part = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local reply, bytes = { '0', '', 0 }, 0
for _ = 1, LOOKS do
  local found = redis.call('HSCAN', key('lined'), cursor, 'COUNT', math.max(1, math.min(wanted, 20)))
  cursor, reply[3] = found[1], reply[3] + #found[2] / 2
  for n = 1, #found[2], 2 do
    local id, kept = found[2][n], found[2][n + 1]
    local line = place_in_index(id) or ''
    local is_wanted = #kept > 1 and string.sub(id, 1, #start) == start
      and (queue == '' or string.match(line, '^l:([^:]+):%d:') == queue)
    bytes = bytes + #kept
    if is_wanted and part ~= '' then
      is_wanted = string.find(kept, part, 3 + struct.unpack('>I2', kept) + SEAL_BYTES, true) ~= nil
    end
    if is_wanted and task ~= '' then
      local from = 3 + struct.unpack('>I2', kept) + SEAL_BYTES
      local ok, _, _, _, named = pcall(cmsgpack.unpack_limit, string.sub(kept, from, from + HEAD), 3, 1)
      is_wanted = ok and named == task
    end
    if is_wanted then
      reply[#reply + 1] = { id, line, kept }
      wanted = wanted - 1
    end
  end
  if cursor == '0' or wanted <= 0 or bytes > BATCH_BYTES then break end
end
reply[1] = cursor
return reply
