//! Random programs. A program prints strings only, and nothing that depends on an address.

use std::fmt::Write as _;

use crate::words::{self, FIELDS, NAMES, NUMBERS, PATTERN_PARTS, PRELUDE, STRINGS, TEXTS};

pub(crate) fn program(seed: u64) -> String {
    let mut generator = Generator {
        state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        out: PRELUDE.into(),
        loops: 0,
        functions: 0,
        depth: 0,
    };
    for _ in 0..20 {
        generator.next();
    }
    let sections = 3 + generator.below(6);
    for _ in 0..sections {
        generator.section();
    }
    generator.out
}

struct Generator {
    state: u64,
    out: String,
    /// Loops around the place, which get different variables.
    loops: usize,
    functions: usize,
    depth: usize,
}

impl Generator {
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn section(&mut self) {
        match self.below(12) {
            0 => self.formats(),
            1 => self.patterns(),
            2 => self.conversions(),
            3 => self.tables(),
            4 => self.metatables(),
            5 => self.coroutines(),
            6 => self.syntax(),
            7 => self.sorts(),
            8 => self.library(),
            _ => self.statements_section(),
        }
    }

    // Expressions

    fn number(&mut self) -> String {
        match self.below(4) {
            0 => format!("{}", self.below(20) as i64 - 5),
            1 => format!("{}", (self.below(2000) as f64 - 1000.0) / 8.0),
            _ => self.pick(NUMBERS).into(),
        }
    }

    fn atom(&mut self) -> String {
        match self.below(9) {
            0 | 1 => self.number(),
            2 => self.pick(STRINGS).into(),
            3 => self.pick(&["nil", "true", "false"]).into(),
            4 => format!("{}.{}", self.pick(NAMES), self.pick(FIELDS)),
            5 if self.loops > 0 => format!("i{}", self.below(self.loops) + 1),
            _ => self.pick(NAMES).into(),
        }
    }

    fn expression(&mut self) -> String {
        self.depth += 1;
        let text = if self.depth > 4 { self.atom() } else { self.compound() };
        self.depth -= 1;
        text
    }

    fn compound(&mut self) -> String {
        match self.below(22) {
            0..=3 => {
                let operator = self.pick(&["+", "-", "*", "/", "%", "^"]);
                format!("{} {operator} {}", self.operand(), self.operand())
            }
            4 | 5 => {
                let operator = self.pick(&["==", "~=", "<", "<=", ">", ">="]);
                format!("({} {operator} {})", self.operand(), self.operand())
            }
            6 | 7 => format!("{} .. {}", self.operand(), self.operand()),
            8 => format!("({} and {})", self.expression(), self.expression()),
            9 => format!("({} or {})", self.expression(), self.expression()),
            10 => format!("not {}", self.operand()),
            11 => format!("-{}", self.operand()),
            12 => format!("#{}", self.operand()),
            13 => self.constructor(),
            14 => format!("{}[{}]", self.pick(NAMES), self.expression()),
            15 => format!("tostring({})", self.scalar()),
            16 => format!("tonumber({})", self.expression()),
            17 => format!("({}):{}", self.pick(STRINGS), self.method()),
            18 => format!("type({})", self.expression()),
            19 => format!("select({}, {})", self.atom(), self.expression()),
            20 if self.functions > 0 => {
                let function = self.below(self.functions) + 1;
                format!("f{function}({}, {})", self.expression(), self.expression())
            }
            _ => self.atom(),
        }
    }

    fn operand(&mut self) -> String {
        let text = self.expression();
        if text.contains(' ') || text.starts_with('-') {
            format!("({text})")
        } else {
            text
        }
    }

    /// An expression that is no table or function, as far as can be seen.
    fn scalar(&mut self) -> String {
        match self.below(3) {
            0 => self.number(),
            1 => self.pick(STRINGS).into(),
            _ => format!("({} .. {})", self.number(), self.pick(STRINGS)),
        }
    }

    fn method(&mut self) -> String {
        match self.below(8) {
            0 => "upper()".into(),
            1 => "len()".into(),
            2 => format!("sub({}, {})", self.number(), self.number()),
            3 => format!("rep({})", self.below(5)),
            4 => "reverse()".into(),
            5 => format!("byte({})", self.below(6)),
            6 => format!("find({}, {}, true)", self.pick(STRINGS), self.below(4)),
            _ => format!("lower({})", self.atom()),
        }
    }

    fn constructor(&mut self) -> String {
        let mut text = String::from("{");
        for _ in 0..self.below(6) {
            match self.below(4) {
                0 => {
                    let _ = write!(text, "{} = {}, ", self.pick(FIELDS), self.expression());
                }
                1 => {
                    let _ = write!(text, "[{}] = {}; ", self.scalar(), self.expression());
                }
                _ => {
                    let _ = write!(text, "{}, ", self.expression());
                }
            }
        }
        text + "}"
    }

    // Statements

    fn statements_section(&mut self) {
        self.line("try(function(...)");
        self.line("local a, b, c, d, e = 1, 'two', {3, x = 4}, nil, ...");
        self.block(6);
        self.line("out(a, b, c, d, e)");
        self.line("end, 5, 6)");
    }

    fn block(&mut self, statements: usize) {
        let functions = self.functions;
        for _ in 0..=self.below(statements) {
            self.statement();
        }
        self.functions = functions;
    }

    fn statement(&mut self) {
        self.depth += 1;
        match if self.depth > 5 { self.below(5) } else { self.below(16) } {
            0 | 1 => {
                let text = format!("{} = {}", self.pick(NAMES), self.expression());
                self.line(&text);
            }
            2 => {
                let text = format!("out({}, {})", self.expression(), self.expression());
                self.line(&text);
            }
            3 => {
                let text = format!("{}.{} = {}", self.pick(NAMES), self.pick(FIELDS), self.expression());
                self.line(&text);
            }
            4 => {
                let text = format!("{}[{}] = {}", self.pick(NAMES), self.expression(), self.expression());
                self.line(&text);
            }
            5 => {
                let names = format!("{}, {}", self.pick(NAMES), self.pick(NAMES));
                let text = format!("{names} = {}, {}", self.expression(), self.expression());
                self.line(&text);
            }
            6 | 7 => {
                let text = format!("if {} then", self.expression());
                self.line(&text);
                self.block(3);
                if self.one_in(2) {
                    let text = format!("elseif {} then", self.expression());
                    self.line(&text);
                    self.block(2);
                }
                if self.one_in(2) {
                    self.line("else");
                    self.block(2);
                }
                self.line("end");
            }
            8 | 9 => self.loop_statement(),
            10 => {
                let text = format!("local function f{}(a, b)", self.functions + 1);
                self.line(&text);
                let (loops, functions) = (self.loops, self.functions);
                self.loops = 0;
                self.block(3);
                let text = format!("return {}, a", self.expression());
                self.line(&text);
                self.loops = loops;
                self.functions = functions + 1;
                self.line("end");
            }
            11 => {
                self.line("try(function()");
                self.block(3);
                let text = format!("return {}", self.expression());
                self.line(&text);
                self.line("end)");
            }
            12 => {
                self.line("do local d = {} for i = 1, 3 do local j = i * 2 d[i] = function(v) j = j + (v or 1) return j, i end end");
                let text = format!("out(d[1](), d[2](5), d[1](2), (d[3]({})))", self.number());
                self.line(&text);
                self.line("end");
            }
            13 => {
                let text = format!(
                    "out((function(...) return select('#', ...), ... end)({}, {}, nil))",
                    self.expression(),
                    self.expression()
                );
                self.line(&text);
            }
            14 => {
                let error = self.pick(words::ERRORS);
                let text = format!("try(function() {error} end)");
                self.line(&text);
            }
            _ => {
                self.line("do");
                self.block(3);
                self.line("end");
            }
        }
        self.depth -= 1;
    }

    fn loop_statement(&mut self) {
        self.loops += 1;
        let variable = format!("i{}", self.loops);
        match self.below(5) {
            0 => {
                let text = format!(
                    "local {variable} = 0 while {variable} < {} do {variable} = {variable} + 1",
                    self.below(5)
                );
                self.line(&text);
            }
            1 => {
                let text = format!(
                    "for {variable} = {}, {}, {} do",
                    self.below(6),
                    self.below(6),
                    self.pick(&["1", "2", "-1", "0.5"])
                );
                self.line(&text);
            }
            2 => {
                let text = format!("for {variable}, v in pairs({}) do", self.constructor());
                self.line(&text);
            }
            3 => {
                let text = format!(
                    "for {variable}, v in ipairs({}) do out({variable}, v)",
                    self.constructor()
                );
                self.line(&text);
            }
            _ => {
                let text = format!(
                    "for {variable} in string.gmatch({}, {}) do",
                    self.pick(STRINGS),
                    self.pick(&["'%a'", "'%w+'", "'.'", "'()'"])
                );
                self.line(&text);
            }
        }
        self.block(3);
        if self.one_in(4) {
            let text = format!("if {} then break end", self.expression());
            self.line(&text);
        }
        self.line("end");
        self.loops -= 1;
    }

    // Libraries

    fn formats(&mut self) {
        for _ in 0..8 {
            let flags: String = (0..self.below(3))
                .map(|_| self.pick(&["-", "+", " ", "#", "0"]))
                .collect();
            let width = self.pick(&["", "", "1", "5", "12", "20", "123"]);
            let precision = self.pick(&["", "", ".0", ".1", ".3", ".14", ".20", "."]);
            let letter = self.pick(&[
                "d", "i", "u", "x", "X", "o", "c", "e", "E", "f", "g", "G", "q", "s", "s", "y", "%",
            ]);
            let text = format!(
                "try(string.format, '<%{flags}{width}{precision}{letter}>', {})",
                self.scalar()
            );
            self.line(&text);
        }
    }

    fn pattern(&mut self) -> String {
        (0..1 + self.below(5)).map(|_| self.pick(PATTERN_PARTS)).collect()
    }

    fn patterns(&mut self) {
        for _ in 0..10 {
            let (pattern, text) = (self.pattern(), self.pick(TEXTS));
            let line = match self.below(7) {
                0 | 1 => format!("try(string.find, '{text}', '{pattern}', {})", self.below(6) as i64 - 2),
                2 => format!("try(string.match, '{text}', '{pattern}')"),
                3 => {
                    let by = self.pick(&["<%0>", "%1", "", "%%", "[%1%2]", "%9", "%"]);
                    format!("try(string.gsub, '{text}', '{pattern}', '{by}', {})", self.below(5))
                }
                4 => format!("try(string.gsub, '{text}', '{pattern}', {{a = 1, b = true, hello = 'bye', c = false}})"),
                5 => format!(
                    "try(string.gsub, '{text}', '{pattern}', function(...) return select('#', ...) .. tostring((...)) end)"
                ),
                _ => format!(
                    "try(function() local n = 0 for x, y in string.gmatch('{text}', '{pattern}') do n = n + 1 out(x, y) if n > 20 then break end end end)"
                ),
            };
            self.line(&line);
        }
    }

    fn conversions(&mut self) {
        for _ in 0..8 {
            let digits: String = (0..1 + self.below(6))
                .map(|_| {
                    self.pick(&[
                        "0", "1", "9", "7", "x", "e", ".", "-", "+", " ", "f", "A", "p", "0x", "1e", "inf", "nan", "_",
                        "\\0",
                    ])
                })
                .collect();
            let line = match self.below(4) {
                0 => format!("try(tonumber, '{digits}', {})", self.below(38)),
                1 => format!("try(function() return '{digits}' + 1 end)"),
                2 => format!("out(loadstring('return {digits}'))"),
                _ => format!("try(tonumber, '{digits}')"),
            };
            self.line(&line);
        }
        for _ in 0..4 {
            let line = format!(
                "out({} {} {}, tostring({}))",
                self.number(),
                self.pick(&["+", "*", "/", "%", "-", "^"]),
                self.number(),
                self.number()
            );
            self.line(&line);
        }
    }

    fn key(&mut self) -> String {
        match self.below(6) {
            0..=2 => format!("{}", self.below(40) as i64 - 3),
            3 => format!("'{}'", self.pick(FIELDS)),
            4 => format!("'key{}'", self.below(30)),
            _ => self
                .pick(&["true", "false", "0.5", "1.5", "2^40", "-1", "1e100", "'1'", "''"])
                .into(),
        }
    }

    fn tables(&mut self) {
        self.line("do local t = {}");
        if self.one_in(3) {
            let text = format!(
                "t = {}",
                self.pick(&[
                    "{1,2,3}",
                    "{1,2,nil,4}",
                    "{x=1,y=2}",
                    "{nil,nil,3}",
                    "{n=1,2,3,4,5,6,7}",
                    "{1,[2]=5,[4]=6}"
                ])
            );
            self.line(&text);
        }
        for _ in 0..5 + self.below(40) {
            let line = match self.below(12) {
                0..=4 => format!("t[{}] = {}", self.key(), self.below(100)),
                5 | 6 => format!("t[{}] = nil", self.key()),
                7 => format!("try(table.insert, t, {})", self.below(9)),
                8 => format!("try(table.insert, t, {}, 'ins')", self.below(9)),
                9 => format!("try(table.remove, t{})", self.pick(&["", ", 1", ", 2", ", 7"])),
                10 => "t[#t + 1] = #t".into(),
                _ => "out(#t, next(t), table.maxn(t), table.getn(t))".into(),
            };
            self.line(&line);
        }
        self.line("out(t) for k, v in pairs(t) do if k ~= 3 then t[k] = nil end end out(t)");
        self.line(
            "for i = 1, 5 do t[i] = i end out(t, unpack(t)) try(table.concat, t, ',') try(table.concat, t, '-', 2, 4)",
        );
        let text = format!("try(next, t, {}) end", self.key());
        self.line(&text);
    }

    fn sorts(&mut self) {
        let count = self.below(40);
        let items: Vec<String> = (0..count).map(|_| format!("{}", self.below(50))).collect();
        let order = self.pick(&[
            "nil",
            "function(a, b) return a > b end",
            "function(a, b) return a % 7 < b % 7 end",
            "function(a, b) return true end",
            "function(a, b) return tostring(a) < tostring(b) end",
            "function(a, b) n = (n or 0) + 1 return a < b end",
            "function(a, b) if a == 7 then error('seven') end return a < b end",
        ]);
        let line = format!(
            "do local t = {{{}}} try(table.sort, t, {order}) out(t) n = nil end",
            items.join(", ")
        );
        self.line(&line);
        let words: Vec<&str> = (0..self.below(10)).map(|_| self.pick(STRINGS)).collect();
        let extra = if self.one_in(4) { ", 5" } else { "" };
        let line = format!(
            "do local t = {{{}{extra}}} try(table.sort, t) out(t) end",
            words.join(", ")
        );
        self.line(&line.replace("{, ", "{"));
    }

    fn metatables(&mut self) {
        self.line("do local m = {} local t = setmetatable({1, 2, x = 'own'}, m) local u = setmetatable({}, m)");
        for event in [
            "add", "sub", "mul", "div", "mod", "pow", "unm", "concat", "eq", "lt", "le", "call", "len", "index",
            "newindex", "tostring",
        ] {
            let body = match self.below(5) {
                0 => continue,
                1 => format!("function(a, b) return '{event}', type(a), type(b) end"),
                2 => format!(
                    "function(a, b, c) out('{event}', type(a), type(b), type(c)) return {} end",
                    self.pick(&["true", "false", "nil", "'r'", "42"])
                ),
                3 if event.ends_with("index") => "{x = 'from table', z = 26}".into(),
                3 => "nil".into(),
                _ => format!("function(...) return {}, select('#', ...) end", self.number()),
            };
            let line = format!("m.__{event} = {body}");
            self.line(&line);
        }
        for _ in 0..8 {
            let operation = self.pick(words::OPERATIONS);
            let line = format!("try(function() return {operation} end)");
            self.line(&line);
        }
        self.line("try(function() t.new = 1 u.x = 2 t[1] = 9 return rawget(t, 'new'), rawget(u, 'x'), t[1] end) end");
    }

    fn coroutines(&mut self) {
        let body = self.pick(words::COROUTINES);
        let line = format!(
            "try(function() local co co = coroutine.create(loadstring([==[local out, co = ... ; return function(a) {body} end]==])(out, co))"
        );
        self.line(&line);
        for _ in 0..5 {
            let line = format!(
                "out(coroutine.resume(co, {})) out(coroutine.status(co))",
                self.atom().replace("i1", "1")
            );
            self.line(&line);
        }
        self.line("end)");
        self.line("try(function() local w = coroutine.wrap(function(...) local n = select('#', ...) while n < 4 do n = n + coroutine.yield(n, ...) end return 'out' end)");
        self.line("out(w(1, 2)) out(w(1)) out(w(1)) out(w(1)) end)");
    }

    /// Programs with a token too many, too few, or changed.
    fn syntax(&mut self) {
        for _ in 0..8 {
            let source = self.pick(words::SOURCES);
            let mut tokens: Vec<&str> = source.split_inclusive([' ', '(', ')', ',']).collect();
            match self.below(4) {
                0 => {
                    let at = self.below(tokens.len());
                    tokens.remove(at);
                }
                1 => {
                    let extra = self.pick(&[
                        "end ", "( ", ") ", "= ", "then ", "nil ", ", ", "'s' ", "7 ", "local ", ".. ", "} ", "\n",
                        "name ", "... ",
                    ]);
                    let at = self.below(tokens.len() + 1);
                    tokens.insert(at, extra);
                }
                2 => {
                    let (first, second) = (self.below(tokens.len()), self.below(tokens.len()));
                    tokens.swap(first, second);
                }
                _ => {}
            }
            let source: String = tokens.concat();
            // How much of a long source is shown differs between builds of PUC Lua.
            let name = if source.len() > 40 {
                ", '=name'"
            } else {
                self.pick(&["", ", '=name'", ", '@file'"])
            };
            let line = format!(
                "do local f, e = loadstring([====[{source}]====]{name}) out(type(f), e) if f then try(f, 1, 2) end end"
            );
            self.line(&line);
        }
        self.line("a, b, x, y, f, goto, t, k, v, c = nil");
    }

    fn library(&mut self) {
        for _ in 0..10 {
            let name = self.pick(words::FUNCTIONS);
            let mut args = String::new();
            for _ in 0..self.below(4) {
                let arg = match self.below(6) {
                    0 => self.number(),
                    1 => self.pick(STRINGS).into(),
                    2 => self
                        .pick(&["nil", "true", "false", "{}", "{1, 2, 3}", "{x = 1}", "'a'"])
                        .into(),
                    3 => self
                        .pick(&[
                            "function() return 1 end",
                            "function(...) return nil end",
                            "out",
                            "tostring",
                        ])
                        .into(),
                    _ => self.pick(&["1", "2", "-1", "0", "3", "'2'"]).into(),
                };
                let _ = write!(args, ", {arg}");
            }
            // A large count makes a large string, an endless reader an endless program.
            if name == "load" || (name == "string.rep" && args.contains('e')) || name == "collectgarbage" {
                continue;
            }
            let line = if self.one_in(2) {
                format!("try({name}{args})")
            } else {
                format!("try(function() return {name}({}) end)", args.trim_start_matches(", "))
            };
            self.line(&line);
        }
    }
}
