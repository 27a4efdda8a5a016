-- What job queues do in scripts: keys are built, hashes read, a priority queue kept, events sent. The store is a table.
local store = {}
local commands = {}
function commands.hset(key, ...)
  local hash = store[key] or {} store[key] = hash
  local args = {...}
  for i = 1, #args, 2 do hash[args[i]] = args[i + 1] end
  return #args / 2
end
function commands.hget(key, field) return (store[key] or {})[field] end
function commands.incr(key) store[key] = (store[key] or 0) + 1 return store[key] end
function commands.rpush(key, value) local list = store[key] or {} store[key] = list list[#list + 1] = value return #list end
function commands.lpop(key) local list = store[key] return list and table.remove(list, 1) end
function commands.exists(key) return store[key] and 1 or 0 end
function commands.del(key) store[key] = nil end
local redis = {call = function(name, ...) return commands[name](...) end}

local function add(keys, args)
  local id, prefix = redis.call("incr", keys[1]), args[1]
  local key = prefix .. id
  if redis.call("exists", key) == 1 then return id end
  local options = args[3] or {}
  redis.call("hset", key, "name", args[2], "data", "{\"n\":" .. id .. "}", "opts", tostring(options.delay or 0), "priority", options.priority or 0)
  redis.call("rpush", keys[2], key)
  redis.call("rpush", keys[3], "event:added:" .. id)
  return id
end
local function move(keys, args)
  local key = redis.call("lpop", keys[2])
  if not key then return nil end
  local id = string.match(key, ":(%d+)$")
  redis.call("hset", key, "state", "active", "worker", args[1] .. "-" .. tonumber(id) % 7)
  local parts = {} for part in string.gmatch(key, "[^:]+") do parts[#parts + 1] = part end
  if redis.call("hget", key, "priority") > 2 then redis.call("rpush", keys[3], table.concat(parts, "/")) end
  redis.call("del", key)
  return id
end
local keys, done = {"bull:id", "bull:wait", "bull:events"}, 0
for i = 1, 40000 do
  add(keys, {"bull:jobs:", "send mail", {priority = i % 5}})
  if i % 2 == 0 then for _ = 1, 2 do if move(keys, {"worker"}) then done = done + 1 end end end
end
assert(done == 40000)
