#!/usr/bin/env escript
%% A real Erlang node as a peer of a salp cluster: `peer.escript VICTIM_PID NODE...`.
%%
%% ERL_FLAGS gives the node its name and cookie. The key `moo` is `-3.14` beforehand. The last node
%% is killed (its process id is VICTIM_PID) to see that monitors fire. Each check prints one line,
%% `ok NAME` or `failed NAME: REASON`; the last line is `end`.
-mode(compile).

main([VictimPid | Names]) ->
    Nodes = [list_to_atom(Name) || Name <- Names],
    lists:foreach(fun check/1, connection(Nodes) ++ calls(Nodes) ++ terms(Nodes)
                  ++ liveness(Nodes) ++ loss(VictimPid, Nodes)),
    io:format("end~n").

check({Name, Fun}) ->
    {Pid, Ref} = spawn_monitor(fun() -> Fun(), exit(held) end),
    receive
        {'DOWN', Ref, process, Pid, held} -> io:format("ok ~ts~n", [Name]);
        {'DOWN', Ref, process, Pid, Reason} -> io:format("failed ~ts: ~0tp~n", [Name, Reason])
    after 20000 ->
        exit(Pid, kill),
        io:format("failed ~ts: no answer in 20 s~n", [Name])
    end.

connection([One, Two | _] = Nodes) ->
    [{"ping", fun() -> pong = net_adm:ping(Two) end},
     {"ping of nobody", fun() -> pang = net_adm:ping('nobody@127.0.0.1') end},
     {"another cookie is refused", fun() ->
         erlang:set_cookie(One, wrong),
         pang = net_adm:ping(One),
         erlang:set_cookie(One, erlang:get_cookie()),
         pong = net_adm:ping(One)
     end},
     {"connect_node", fun() -> [true = net_kernel:connect_node(Node) || Node <- Nodes] end},
     {"nodes(connected)", fun() -> [] = Nodes -- nodes(connected) end},
     {"visible", fun() -> [] = Nodes -- nodes() end},
     {"global:sync", fun() -> ok = global:sync() end},
     {"all know each other to global", fun() ->
         Known = fun(Node) -> lists:sort([Node | gen_server:call({global_name_server, Node}, get_known)]) end,
         eventually(fun() -> 1 =:= length(lists:usort([Known(Node) || Node <- [node() | Nodes]])) end)
     end},
     {"names of the port mapper", fun() ->
         {ok, Registered} = net_adm:names(),
         [] = [hd(string:split(atom_to_list(Node), "@")) || Node <- Nodes]
             -- [Name || {Name, _} <- Registered]
     end}].

calls([One, Two, Three, Four | _]) ->
    [{"get what redis-cli set", fun() -> {ok, <<"-3.14">>} = call(Four, {get, <<"moo">>}) end},
     {"put, get elsewhere", fun() ->
         ok = call(One, {put, <<"erl">>, <<"value">>}),
         {ok, <<"value">>} = call(Two, {get, <<"erl">>})
     end},
     {"get of nothing", fun() -> error = call(Three, {get, <<"nothing">>}) end},
     {"delete", fun() ->
         ok = call(Three, {delete, <<"erl">>}),
         error = call(One, {get, <<"erl">>})
     end},
     {"put with a lifetime", fun() ->
         ok = call(One, {put, <<"short">>, <<"life">>, [{ttl, 300}]}),
         {ok, <<"life">>} = call(Two, {get, <<"short">>}),
         eventually(fun() -> call(Two, {get, <<"short">>}) =:= error end)
     end},
     {"incr", fun() ->
         {ok, 5} = call(One, {incr, <<"erl-count">>, 5}),
         {ok, 3} = call(Two, {incr, <<"erl-count">>, -2})
     end},
     {"stats is a number", fun() -> true = is_integer(call(One, stats)) end},
     {"cast", fun() ->
         ok = gen_server:cast({salp, One}, {put, <<"cast">>, <<"away">>}),
         eventually(fun() -> call(Two, {get, <<"cast">>}) =:= {ok, <<"away">>} end)
     end},
     {"a value of 5 MB", fun() ->
         Value = binary:copy(<<"0123456789">>, 500000),
         ok = call(One, {put, <<"big">>, Value}),
         {ok, Value} = call(Two, {get, <<"big">>})
     end},
     {"a thousand calls at once", fun() ->
         Requests = [{N, gen_server:send_request({salp, One}, {put, {many, N}, N})}
                     || N <- lists:seq(1, 1000)],
         [{reply, ok} = gen_server:receive_response(Request, 10000) || {_, Request} <- Requests],
         [{ok, N} = call(Two, {get, {many, N}}) || {N, _} <- Requests]
     end},
     {"an unknown request is answered with an error", fun() ->
         {error, _} = call(One, {no_such_request, 1})
     end},
     {"an unknown process is noproc", fun() ->
         {noproc, _} = try gen_server:call({no_such_process, One}, x) catch exit:E -> E end
     end}].

terms([One, Two | _]) ->
    [{io_lib:format("the term ~0tp", [Term]), fun() ->
         ok = call(One, {put, {key, Term}, Term}),
         {ok, Term} = call(Two, {get, {key, Term}})
     end} || Term <- [atom, '', -1, 1 bsl 70, -(1 bsl 70), 3.14, <<>>, <<5:3>>, "list", [], {}, [a | b],
                      #{a => [1.5, <<"x">>], {b} => #{}}, self(), make_ref(), fun lists:map/2,
                      [{'ключ', <<"значение"/utf8>>}]]].

%% The tick time is 4 s here: a peer that does not tick is thrown out within 6 s.
liveness(Nodes) ->
    [{"silence does not disconnect", fun() ->
         [monitor_node(Node, true) || Node <- Nodes],
         receive {nodedown, Node} -> exit({lost, Node}) after 6000 -> ok end,
         [] = Nodes -- nodes(connected)
     end}].

loss(VictimPid, Nodes) ->
    Victim = lists:last(Nodes),
    [{"monitors fire once when a node is killed", fun() ->
         Ref = monitor(process, {salp, Victim}),
         true = monitor_node(Victim, true),
         ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
         os:cmd("kill -9 " ++ VictimPid),
         receive {'DOWN', Ref, process, {salp, Victim}, noconnection} -> ok after 9000 -> exit(no_down) end,
         receive {nodedown, Victim} -> ok after 9000 -> exit(no_nodedown) end,
         receive {nodedown, Victim, _} -> ok after 9000 -> exit(no_monitor_nodes) end,
         receive Extra -> exit({extra, Extra}) after 500 -> ok end
     end},
     {"the others still answer", fun() ->
         [{ok, <<"-3.14">>} = call(Node, {get, <<"moo">>}) || Node <- lists:droplast(Nodes)]
     end}].

call(Node, Request) -> gen_server:call({salp, Node}, Request, 10000).

eventually(Fun) -> eventually(Fun, 150).

eventually(_, 0) -> exit(never);
eventually(Fun, Tries) ->
    case Fun() of
        true -> ok;
        false -> timer:sleep(100), eventually(Fun, Tries - 1)
    end.
