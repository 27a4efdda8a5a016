print(math.fmod(-5,3), math.mod(5,3), math.frexp(10), math.ldexp(1,4), math.modf(-3.7), math.pow(2,10), math.log10(1000), math.pi, math.max(1,5,3), pcall(math.max))
print(tostring(1e15),tostring(1e14),2^53,-0.0,1/0,-1/0,0/0,100000000000000,123456789012345678)
for _, n in ipairs{"acos","asin","atan","ceil","cos","cosh","deg","exp","floor","log","log10","rad","sin","sinh","sqrt","tan","tanh","abs"} do
 local r = {} for _, x in ipairs{2,-2,1/0,-1/0,0/0,-(0/0),0,-0.0,0.5,1.5,100,-0.3,1e10,710,-1, 3.3, 7} do r[#r+1]=tostring(math[n](x)) end print(n, table.concat(r," ")) end
for _, n in ipairs{"atan2","fmod","pow"} do local r = {} for _, x in ipairs{2,-2,1/0,-1/0,0/0,0,-0.0,0.5,1.5} do for _, y in ipairs{2,-2,1/0,-1/0,0/0,0,-0.0,0.5,1/3} do r[#r+1]=tostring(math[n](x,y)) end end print(n, table.concat(r," ")) end
for _, x in ipairs{2,-2,1/0,-1/0,0/0,0,-0.0,0.5,-1.5} do print(math.modf(x)) print(math.frexp(x)) print(math.ldexp(x,3), math.ldexp(x,-2000), math.ldexp(x,2000)) end
print(0/0, -(0/0), 2^53 % (1/0), (1/0)-(1/0), 0*(1/0), tonumber("nan"), -tonumber("nan"), (1/0)%2, 5%0, -5 % 0, (-8)^0.5, math.sqrt(-1), math.fmod(1,0), math.log(-1), tonumber("nan")+1, 1+tonumber("nan"))
