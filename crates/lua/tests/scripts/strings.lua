print(string.format("%5s|%-5s|%05d|%+d|%x|%X|%o|%c|%e|%g|%q", "a","b",42,42,255,255,8,65,1.5,1e20,"a\n\0\"\\\r"))
print(pcall(string.rep)) print(pcall(string.rep,"x",-1)) print(string.find("abc","b",1,true)) print(pcall(string.find,"a","[a")) print(pcall(string.find,"a","%")) print(pcall(string.gsub,"abc","(","x")) print(pcall(string.gsub,"abc","a",function() return {} end)) print(pcall(string.gsub,"abc","a","%2"))
print(tonumber("0x10"), tonumber("10",2), tonumber("zz",36), tonumber("8",8), tonumber(" 0x1p4 "), tonumber("1e1",10), pcall(tonumber,{},10))
print(string.byte("abc",1,-1), string.byte("",1), string.char(72,105), pcall(string.char,256), pcall(string.char, -1)) print(("x"):rep(3), ("abc"):sub(-2), ("abc"):upper(), ("abc"):reverse(), ("abc"):len())
