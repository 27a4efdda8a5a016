
local co = coroutine.create(function(a, b) print(a, b) local c = coroutine.yield(a + b) print(c) local d, e = coroutine.yield(c * 2) print(d, e) return "end", d end)
print(coroutine.resume(co, 1, 2)) print(coroutine.status(co)) print(coroutine.resume(co, 10)) print(coroutine.resume(co, "x", "y")) print(coroutine.status(co)) print(coroutine.resume(co))
local gen = coroutine.wrap(function(n) for i = 1, n do coroutine.yield(i) end end) print(gen(3), gen(), gen(), gen()) print(pcall(gen))
print(coroutine.resume(coroutine.create(function() error("oops") end))) print(coroutine.resume(coroutine.create(function() error({}) end)) == false)
print(pcall(coroutine.wrap(function() error("w") end))) print(pcall(coroutine.create, print)) print(pcall(coroutine.resume, 1)) print(coroutine.running())
print(pcall(coroutine.yield, 1)) print(coroutine.resume(coroutine.create(function() return pcall(coroutine.yield, 1) end)))
local outer outer = coroutine.create(function() local inner = coroutine.create(function() print(coroutine.status(outer)) print(coroutine.resume(outer)) coroutine.yield(5) end) print(coroutine.resume(inner)) print(coroutine.status(inner)) end) print(coroutine.resume(outer))
local fs = {} local c = coroutine.wrap(function() local x = 0 fs[1] = function() x = x + 1 return x end coroutine.yield() x = 100 end) c() print(fs[1](), fs[1]()) c() print(fs[1]())
