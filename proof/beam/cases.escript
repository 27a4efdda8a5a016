#!/usr/bin/env escript
%% Small inputs that failed once, asked by a real Erlang node: `cases.escript QUESTION NODE...`.
%%
%% ERL_FLAGS gives the node its name and cookie. Prints `ok`, or what is wrong.
-mode(compile).

-define(BIG, 6000000000000000000).

main([Question | Names]) ->
    Nodes = [list_to_atom(Name) || Name <- Names],
    [pong = net_adm:ping(Node) || Node <- Nodes],
    try
        ask(list_to_atom(Question), Nodes),
        io:format("ok~n")
    catch
        Class:Reason -> io:format("~p: ~0tP~n", [Class, Reason, 8])
    end.

%% Another process reads all the while, at the node that is sent what is too much, and must not be disturbed.
ask(deep, Nodes) -> disturbs_nobody(Nodes, lists:foldl(fun(_, Inner) -> #{n => Inner} end, x, lists:seq(1, 300)));
ask(long, Nodes) -> disturbs_nobody(Nodes, lists:duplicate(4200000, $a));
ask(number, Nodes) -> disturbs_nobody(Nodes, 1 bsl (70 * 1024 * 8));
ask(large, Nodes) -> disturbs_nobody(Nodes, binary:copy(<<0>>, 73 bsl 20));
ask(infinity, [One, Two | _]) ->
    ok = call(One, {put, <<"for ever">>, 1, [{ttl, infinity}]}),
    {ok, infinity} = call(Two, {ttl, <<"for ever">>});
ask(counter, [One, Two | _]) ->
    ok = call(One, {put, <<"sum">>, 1 - ?BIG}),
    {ok, 1} = call(Two, {incr, <<"sum">>, ?BIG}),
    {ok, Sum} = call(One, {incr, <<"sum">>, ?BIG}),
    {Sum, _} = {?BIG + 1, wanted},
    {error, _} = call(Two, {incr, <<"sum">>, ?BIG});
ask(empty_key, [One, Two | _]) ->
    ok = call(One, {put, <<>>, <<"v">>}),
    {ok, <<"v">>} = call(Two, {get, <<>>}),
    ok = call(One, {delete, <<>>}),
    error = call(Two, {get, <<>>});
ask(hidden, [One | _]) ->
    false = lists:member(One, nodes()),
    true = lists:member(One, nodes(hidden)),
    error = call(One, {get, <<"k">>});
ask(unknown, [One | _]) ->
    {error, badarg} = call(One, get),
    {error, badarg} = call(One, {no_such_request, 1}),
    {badrpc, {'EXIT', {undef, _}}} = rpc:call(One, no_such_module, f, [], 5000).

%% The value is refused, or kept as a BEAM would.
disturbs_nobody([One | _] = Nodes, Value) ->
    [true = monitor_node(Node, true) || Node <- Nodes],
    {Reader, Ref} = spawn_monitor(fun() -> read(One) end),
    case call(One, {put, <<"limit">>, Value}) of
        {error, _} -> error = call(One, {get, <<"limit">>});
        ok -> {ok, Value} = call(One, {get, <<"limit">>}), ok = call(One, {delete, <<"limit">>})
    end,
    receive
        {nodedown, Node} -> exit({lost, Node});
        {'DOWN', Ref, process, Reader, Reason} -> exit({reader_ended, Reason})
    after 500 -> ok
    end.

read(Node) ->
    error = call(Node, {get, <<"nothing there">>}),
    read(Node).

call(Node, Request) -> gen_server:call({salp, Node}, Request, 10000).
