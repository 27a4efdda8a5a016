
local function counter() local n = 0 return function() n = n + 1 return n end, function() return n end end
local inc, get = counter() inc() inc() print(get(), counter()())
local fs = {} for i = 1, 3 do local j = i * 10 fs[i] = function() j = j + i return j end end print(fs[1](), fs[1](), fs[2](), fs[3]())
local function va(...) local a, b = ... return select("#", ...), a, b, ... end print(va()) print(va(1, nil)) print((va(1, 2, 3)))
local function old(...) return arg.n, arg[1], #arg end print(old(5, 6)) local function fix(a, ...) return arg.n, a end print(fix(1, 2, 3))
local i = 1 while true do local k = i fs[i] = function() return k end i = i + 1 if i > 3 then break end end print(fs[1](), fs[2](), fs[3]())
repeat local z = i fs[4] = function() return z end until z > 0 print(fs[4]())
local t = {f = function(self, x) return self.v + x end, v = 5} print(t:f(1), t.f(t, 2))

local function fact(n) if n <= 1 then return 1 end return n * fact(n - 1) end print(fact(20), fact(170))
local function loop(n) if n == 0 then return "done" end return loop(n - 1) end print(loop(50000))
for i = 3, 1 do print("never") end for i = 1, 2, 0.5 do io = i end print(io) for i = 3, 1, -1 do print(i) end print(pcall(function() for i = 1, 2, "x" do end end))
local a, b, c = (function() return 1, 2, 3 end)() print(a, b, c) local d, e = ((function() return 1, 2 end)()) print(d, e)
print(1 and 2, nil and 1, false or 3, nil or false, not nil, 1 == 1.0, "1" == 1, 2 ^ 3 ^ 2, -2 ^ 2, "a" .. 1 .. 2, 7 % -3, -7 % 3, 5.5 % 2) 
local m = {} m.__index = m function m:get() return self.x end local o = setmetatable({x = 9}, m) print(o:get(), rawget(o, "get"))
local log = {} local p = setmetatable({}, {__newindex = function(t, k, v) log[#log + 1] = k rawset(t, k, v) end, __call = function(self, ...) return select("#", ...) end, __tostring = function() return "P" end, __concat = function(a, b) return "cat" end, __eq = function() return true end, __lt = function() return true end, __unm = function() return "neg" end}) p.a = 1 p.a = 2 p.b = 3 print(#log, p(1, 2, 3), tostring(p), p .. "x", 1 .. p, p == setmetatable({}, getmetatable(p)), p < p, -p)
