#!/usr/bin/env escript
%% What a BEAM makes of some terms. Writes, beside this file:
%%
%%   etf.txt    KIND <tab> HEX <tab> TEXT. KIND is `same` where encoding TEXT's term gives HEX again,
%%              `other` where HEX is an older or looser form that is only read. TEXT is what
%%              io:format("~0tp") prints, but pids, ports and references begin with their node, and
%%              the keys of a large map are sorted.
%%   order.txt  HEX, ascending in Erlang's order.
%%
%% Run: escript make.escript (OTP 25 or later; the files in the repository are of OTP 25).
-mode(compile).

main(_) ->
    Folder = filename:dirname(escript:script_name()),
    Lines = [line("same", encode(Term), Term) || Term <- terms() ++ identifiers()]
        ++ [line("other", Bytes, binary_to_term(Bytes)) || Bytes <- forms()],
    write(filename:join(Folder, "etf.txt"), Lines),
    write(filename:join(Folder, "order.txt"), [[hex(encode(Term)), $\n] || Term <- lists:sort(ordered())]).

terms() ->
    [
        %% Integers, at each border between two forms.
        0, 1, 255, 256, -1, 2147483647, 2147483648, -2147483648, -2147483649,
        (1 bsl 59) - 1, 1 bsl 59, -(1 bsl 59), -(1 bsl 59) - 1,
        (1 bsl 63) - 1, 1 bsl 63, -(1 bsl 63), -(1 bsl 63) - 1, (1 bsl 64) - 1, 1 bsl 64,
        -(1 bsl 100) + 7, 1 bsl 2039, (1 bsl 2040) - 1, 1 bsl 2040, -(1 bsl 4000) - 1, 1000000000000000000000000000,
        %% Floats.
        0.0, -0.0, 1.0, -1.5, 0.1, 100.0, 1000.0, 1.0e22, 1.0e-7, 0.001, 123456.789, 5.0e-324,
        1.7976931348623157e308, 9007199254740991.0, 9007199254740992.0, 3.141592653589793, -2.5e-10,
        %% Atoms: plain, quoted, beyond ASCII, reserved, longest.
        ok, '', 'Upper', 'with space', nonode@nohost, '$gen_call', 'a@b.c', a1_B, '1a', '_a', 'it\'s', 'a\\b',
        'tab\tnew\nline\e\d', 'å', 'blåbær', 'Ångström', '÷', 'привет', '日本', 'if', 'end', 'receive', 'begin', true,
        list_to_atom([1, 127, 160]), list_to_atom(lists:duplicate(255, $x)), list_to_atom(lists:duplicate(255, 16#65E5)),
        %% Tuples and lists.
        {}, {a}, {a, {b, {c}}}, list_to_tuple(lists:seq(1, 255)), list_to_tuple(lists:seq(1, 256)),
        [], [a], [1, 2, 3], "abc", "quote\" back\\ \t\n", "å", [0, 255], [256], [-1], [1.0], [1, a], [$a, 256],
        [1, 2 | x], [a | b], [[] | {}], [a | <<"b">>], [[], [[]], ["x", []]], [97 | 98],
        lists:duplicate(300, 7),
        %% Binaries and bitstrings.
        <<>>, <<"text">>, <<1, 2>>, <<"quote\"\\\n">>, <<0>>, <<127>>, <<"å"/utf8>>, <<229>>, <<208, 191>>, <<"å", 0>>,
        <<200, "abc">>, binary:copy(<<"0123456789">>, 30),
        <<1:1>>, <<5:3>>, <<"abc", 3:7>>, <<1, 2, 0:4>>,
        %% Maps.
        #{}, #{a => 1}, #{k => v, <<"k">> => #{1 => 2}}, #{1 => a, 1.0 => b, a => c, {} => d, [] => e, [x] => f},
        #{#{a => 1, b => 2} => nested, #{b => 1} => x},
        %% What the protocols send.
        {'$gen_cast', {init_connect, {8, -576460752303420000}, a@h, {locker, no_longer_a_pid, #{}, []}}},
        {ok, [{"key", <<"value">>}, {other, 1.25}]},
        fun lists:map/2, fun 'Elixir.Enum':'any?'/1
    ].

%% Foreign ones come by way of their bytes.
identifiers() ->
    Pid = pid(<<"a@h">>, 9, 0, 16#01020304),
    Ref = ref(<<"a@h">>, [1, 2, 3], 5),
    [
        Pid, pid(<<"node@some.longer.host.name">>, 16#FFFFFFFF, 16#FFFFFFFF, 16#FFFFFFFF),
        Ref, ref(<<"a@h">>, [7], 1), ref(<<"a@h">>, [1, 2, 3, 4, 16#FFFFFFFF], 9),
        port(<<"a@h">>, 1, 2), port(<<"a@h">>, (1 bsl 28) - 1, 2), port(<<"a@h">>, 1 bsl 28, 2), port(<<"a@h">>, 1 bsl 40, 2),
        {6, Pid, '', srv}, {'$gen_call', {Pid, [alias | Ref]}, {get, <<"key">>}}, {19, Pid, srv, Ref},
        {[[alias | Ref] | Ref], yes}, #{Pid => Ref}, self(), make_ref(), fun_of("fun(X) -> X + 1 end."), {fun_of("fun() -> ok end."), 1}
    ].

%% Forms that are read but never sent.
forms() ->
    Name = <<119, 3, "a@h">>,
    [
        term_to_binary(ok, [{minor_version, 1}]), term_to_binary('blåbær', [{minor_version, 1}]),
        term_to_binary({ok, [a, 'B']}, [{minor_version, 1}]), <<131, 115, 2, "ok">>, <<131, 115, 1, 229>>,
        term_to_binary(1.5, [{minor_version, 0}]), term_to_binary(-1.0e-100, [{minor_version, 0}]),
        term_to_binary(maps:from_list([{X, X * X} || X <- lists:seq(40, 1, -1)]), [{minor_version, 2}]),
        <<131, 98, 0, 0, 0, 1>>, <<131, 110, 1, 0, 5>>, <<131, 110, 4, 1, 1, 0, 0, 0>>, <<131, 111, 0, 0, 0, 2, 0, 1, 1>>,
        <<131, 110, 0, 0>>,
        <<131, 105, 0, 0, 0, 1, 97, 1>>, <<131, 108, 0, 0, 0, 1, 97, 1, 106>>, <<131, 107, 0, 0>>,
        <<131, 108, 0, 0, 0, 1, 97, 1, 107, 0, 2, 2, 3>>, <<131, 108, 0, 0, 0, 1, 97, 1, 108, 0, 0, 0, 1, 97, 2, 97, 3>>,
        <<131, 77, 0, 0, 0, 2, 8, 1, 2>>, <<131, 77, 0, 0, 0, 1, 3, 255>>, <<131, 118, 0, 2, "ok">>,
        <<131, 116, 0, 0, 0, 2, 97, 2, 97, 0, 97, 1, 97, 0>>,
        <<131, 103, Name/binary, 9:32, 0:32, 1>>, <<131, 102, Name/binary, 9:32, 1>>,
        <<131, 101, Name/binary, 9:32, 1>>, <<131, 114, 3:16, Name/binary, 1, 1:32, 2:32, 3:32>>,
        <<131, 120, Name/binary, 9:64, 1:32>>
    ].

%% Integers are all below the floats here: Erlang's `<` compares the two by value, the keys of maps do not.
ordered() ->
    Nodes = [<<"a@h">>, <<"ab@h">>, <<"b@h">>],
    [-(1 bsl 70), -(1 bsl 64), -(1 bsl 63), -1, 0, 1, 255, 1 bsl 40, (1 bsl 63) - 1, 1 bsl 63, (1 bsl 64) + 1, 1 bsl 72,
        1.0e30, 1.0e31, a, aa, ab, b, 'å', 'я', {}, {b}, {a, b}, {a, 1}, {1, z},
        #{}, #{z => 1}, #{a => 2}, #{1 => 3}, #{a => 1, b => 1}, #{a => 2, b => 0}, #{a => 1, c => 0}, #{#{a => 1} => 1},
        [], [1], [1, 2], [1 | a], [1 | <<>>], [1, 2 | a], [1, 2 | <<>>], [1 | {}], [2], [a], [[]], [[1]], "abc",
        <<>>, <<1:1>>, <<0:3>>, <<1:2>>, <<0>>, <<0, 0>>, <<0, 0:1>>, <<1>>, <<255>>, <<255, 0>>, <<127:7>>,
        fun lists:map/2, fun lists:map/3, fun lists:all/2, fun maps:get/2]
    ++ [pid(Node, Id, Serial, Creation) || Node <- Nodes, Id <- [1, 2], Serial <- [0, 1], Creation <- [1, 2]]
    ++ [port(Node, Id, Creation) || Node <- Nodes, Id <- [1, 2, 1 bsl 40], Creation <- [1, 2]]
    ++ [ref(Node, Words, Creation) || Node <- Nodes, Words <- [[9], [1, 2, 3], [2, 1, 3], [1, 1, 4], [1, 1, 1, 1, 1]],
            Creation <- [1, 2]].

pid(Node, Id, Serial, Creation) ->
    binary_to_term(<<131, 88, 119, (byte_size(Node)), Node/binary, Id:32, Serial:32, Creation:32>>).

ref(Node, Words, Creation) ->
    binary_to_term(<<131, 90, (length(Words)):16, 119, (byte_size(Node)), Node/binary, Creation:32,
        << <<Word:32>> || Word <- Words >>/binary>>).

port(Node, Id, Creation) ->
    binary_to_term(<<131, 120, 119, (byte_size(Node)), Node/binary, Id:64, Creation:32>>).

%% A fun of the shell, with its code as a free variable.
fun_of(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text),
    {ok, [Expression]} = erl_parse:parse_exprs(Tokens),
    {value, Fun, _} = erl_eval:expr(Expression, []),
    Fun.

encode(Term) -> term_to_binary(Term, [{minor_version, 2}]).

line(Kind, Bytes, Term) -> [Kind, $\t, hex(Bytes), $\t, text(Term), $\n].

%% One node per term is named here, so that its name can stand for every number of a node.
text(Term) when map_size(Term) > 32 ->
    Pairs = [io_lib:format("~0tp => ~0tp", [Key, Value]) || {Key, Value} <- lists:sort(maps:to_list(Term))],
    ["#{", lists:join($,, Pairs), $}];
text(Term) ->
    Text = io_lib:format("~0tp", [Term]),
    case node_of(Term) of
        none -> Text;
        Node ->
            Begin = "(<|#Port<|#Ref<)[0-9]+\\.",
            re:replace(Text, Begin, "\\1" ++ atom_to_list(Node) ++ ".", [global, unicode, {return, list}])
    end.

node_of(Term) when is_pid(Term); is_port(Term); is_reference(Term) -> node(Term);
node_of(Term) when is_tuple(Term) -> node_of(tuple_to_list(Term));
node_of(Term) when is_map(Term) -> node_of(maps:to_list(Term));
node_of([Head | Tail]) ->
    case node_of(Head) of
        none -> node_of(Tail);
        Node -> Node
    end;
node_of(_) -> none.

hex(Bytes) -> [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= Bytes].

write(File, Lines) -> ok = file:write_file(File, unicode:characters_to_binary(Lines)).
