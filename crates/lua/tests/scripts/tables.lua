print(table.concat({1,2,3},",",2,3), pcall(table.concat,{1,{},3}), table.concat({}), pcall(table.concat,{},",",1,2))
print(pcall(table.insert,{},1,2,3)) print(pcall(table.insert,{})) print(table.remove({})) print(table.getn({1,2}), table.maxn({[10]=1,[1.5]=2}))
print(pcall(table.setn,{},1)) print(pcall(table.foreach,{a=1},print)) print(table.foreachi({5,6},function(i,v) print(i,v) if i==2 then return "r" end end))
print(pcall(table.sort,{3,1,"x"})) print(pcall(table.sort,{1,2,3,4,5},function(a,b) return true end))
local function order(t) local parts = {} for k, v in pairs(t) do parts[#parts + 1] = tostring(k) .. "=" .. tostring(v) end print(#t, table.concat(parts, " ")) end
order{1, 2, 3, x = 4, y = 5, [10] = 6, [2.5] = 7, [true] = 8, long_name_of_more_than_thirty_two_characters = 9}
local t = {} for i = 1, 40 do t[i * 3 % 41] = i t["key" .. i] = i end order(t)
for i = 1, 40, 2 do t[i] = nil t["key" .. i] = nil end order(t)
for i = 20, 60 do t[i] = i end order(t) t[#t] = nil order(t)
for k in pairs(t) do t[k] = nil end order(t) t.x = 1 order(t)
order{nil, nil, 3} order{1, nil, 3} order{n = 1, 2, nil, nil, 5, nil}
local list = {} for i = 1, 50 do list[i] = i * 37 % 53 end table.sort(list) order(list) table.sort(list, function(a, b) return a % 5 < b % 5 end) order(list)
