-- What every script begins with: keys, the server's clock, what stands in an entry.
-- Needs:
--
-- KEYS[1] is the key prefix of the app; all keys share its hash tag.
-- Rule of every script but push: the first write is one that a full server still allows (XACK, ZREM, HDEL, PEXPIRE),
-- which marks the script dirty, and what follows is then allowed too.
local function key(name) return KEYS[1] .. name end

-- ARGV[1], ARGV[2]: incarnation and epoch. 1 live, 0 dead, -1 the server has forgotten all incarnations.
local function liveness(incarnation, epoch)
  if redis.call('HEXISTS', key('live'), incarnation) == 1 then return 1 end
  if redis.call('HGET', key('live'), '') == epoch then return 0 end
  return -1
end

-- A full server lets a script go on once it has written something: this removes what never exists.
local function allow_writes() redis.call('DEL', key('r:')) end

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1e6
end

-- A stream entry as envelope, meta.
local function fields_of(entry)
  local fields = entry[2]
  if #fields == 2 and fields[1] == 'j' then return fields[2], '' end
  local sealed, meta = '', ''
  for n = 1, #fields, 2 do
    if fields[n] == 'j' then sealed = fields[n + 1]
    elseif fields[n] == 'm' then meta = fields[n + 1] end
  end
  return sealed, meta
end

-- The id inside a sealed envelope, which is nowhere else: the seal, then a msgpack array of fewer than 16 fields,
-- the version, the id. Empty: this is no envelope.
local function id_of(sealed)
  local head = string.byte(sealed, SEAL_BYTES + 3) or 0
  if head >= 0xa0 and head <= 0xbf then return string.sub(sealed, SEAL_BYTES + 4, SEAL_BYTES + head - 157) end
  if head == 0xd9 then return string.sub(sealed, SEAL_BYTES + 5, SEAL_BYTES + 4 + (string.byte(sealed, SEAL_BYTES + 4) or 0)) end
  return ''
end

-- The entry with this number as id, envelope, meta; nil when it is gone.
local function read(lane, entry)
  local found = redis.call('XRANGE', key(lane), entry, entry)
  if #found == 0 then return nil end
  local sealed, meta = fields_of(found[1])
  return id_of(sealed), sealed, meta
end

-- Queue, reply address and priority inside a sealed envelope (see ``id_of``); for the rare paths on which the caller has
-- not decoded it. cmsgpack knows no bytes: the body, field 5, is stepped over by hand.
local function peek(sealed)
  local ok, queue, reply, priority = pcall(function()
    local job = string.sub(sealed, SEAL_BYTES + 1)
    local at, _, _, _, queue = cmsgpack.unpack_limit(job, 4, 1)
    local width = ({ [0xc4] = 1, [0xc5] = 2, [0xc6] = 4 })[string.byte(job, at + 1)]
    local body = struct.unpack('>I' .. width, job, at + 2)
    local _, priority, _, reply = cmsgpack.unpack_limit(job, 3, at + 1 + width + body)
    return queue, reply, string.format('%d', priority)
  end)
  if ok and type(queue) == 'string' and type(reply) == 'string' and #priority == 1 then return queue, reply, priority end
  return '', '', ''
end

local function address_of(sealed)
  local _, reply = peek(sealed)
  return reply
end
