local Point = {} Point.__index = Point
function Point.new(x, y) return setmetatable({x = x, y = y}, Point) end
function Point:add(other) return Point.new(self.x + other.x, self.y + other.y) end
local function each(list, f) for i, v in ipairs(list) do f(v, i) end end
local total, points = Point.new(0, 0), {}
for i = 1, 1000 do points[i] = Point.new(i, -i) end
for round = 1, 200 do each(points, function(p) total = total:add(p) end) end
assert(total.x == 100100000)
