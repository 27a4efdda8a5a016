print(pcall(function() local a; a.b=1 end)) print(pcall(function() x.y.z=1 end)) print(pcall(function() local t={} t.a.b=1 end)) print(pcall(function() local t={} t:foo() end)) print(pcall(function() return 1 < "2" end)) print(pcall(function() return {} < {} end)) print(pcall(function() return nil .. "x" end)) print(pcall(function() for i=1,"x" do end end)) print(pcall(function() return 2^{} end)) print(pcall(function() local t={} t[nil]=1 end)) print(pcall(function() local t={} t[0/0]=1 end)) print(pcall(function() ("x")() end)) print(pcall(function() string.rep() end)) print(pcall(function() ("x"):rep({}) end)) print(pcall(function() ("x"):bad() end))
local b = {}
print(pcall(function() local b={} local x = (b.k1 and 2) .. (-10) end))
print(pcall(function() local b={} local x = (b.k1) .. (-10) end))
print(pcall(function() local b={} local x = (b.k1 or b.k2) .. (-10) end))
print(pcall(function() local b={} local x = (b.k1 and 2) + 1 end))
print(pcall(function() local b={} local x = {1, z = (b.k1 and 2) .. 1} end))
print(pcall(function() local b={} local x = {1, z = ((b.k1 and 2)) .. (-10)} end))
print(pcall(function() local b={} if b then b = {} end local x = b.k1 .. 1 end))
print(pcall(function() local x = (undefinedx and 2) .. (-10) end))

local function deep() return 1 + deep() end
print(pcall(deep))
print(pcall(function() local t = setmetatable({}, {__index = function(t, k) return t[k .. "x"] end}) return t.x end))
print(pcall(string.rep, "x", -1), pcall(string.find, "a", "[a"), pcall(string.gsub, "abc", "a", "%2"))
print(pcall(function() error({}) end) == false, select(2, pcall(error, nil)), select(2, pcall(error)))
print(pcall(function() error("level 1", 1) end)) print(pcall(function() error("level 2", 2) end)) print(pcall(error, "none", 0))
local function tail() return error("tail", 2) end local function call() return tail() end print(pcall(call))
print(xpcall(function() error("E") end, function(m) return "H:" .. m end)) print(xpcall(function() error("E") end, function(m) error("again") end))
print(pcall(function() return assert(false) end)) print(pcall(function() return assert(nil, "told") end)) print(pcall(assert))
for _, source in ipairs{"x=", "for", "return 'abc", "return [[abc", "x = }", "break", "a.b:c = 1", "f\n(1)", "local a <const> = 1", "return \"\\300\"", "goto = 1", "return ...", "function f() return ... end", "return 1 2", "@", "return 0x", "return 1e", string.rep("(", 300), string.rep("a=", 3), "if x then", "repeat", "--[[ x", "return {1,2", "local function f( end", "a() = 1", "return " .. string.rep("-", 300) .. "1"} do local f, e = loadstring(source, "=s") print(type(f), e) end
