%% A BEAM member of a mesh: `erl -name … -pa … -s mesh -extra HOST PORT SALPS BEAMS`, both lists of nodes with commas.
%%
%% It takes commands on a TCP port, one a line, and answers each with one line of JSON.
%%
%%   facts            what this node sees, and what it holds
%%   ask NODE         the same of a salp node, as far as it answers calls
%%   events           what it saw of the others' coming and going
%%   load SEED        processes begin to make state on the others, at random
%%   calm             they end; the known set remains
%%   renew            all its connections end
%%   stop             an orderly end of the node
%%   plant FAULT      something that a check must catch
%%
%% The *known set* of a member is one process: it has a global name and is in two groups as long as the node lives, and
%% from `calm` on it watches each salp node and is linked to its store.
%%
%% BEAM nodes do not connect again on their own. The pinger does it, as libcluster would.
-module(mesh).
-export([start/0]).

-define(SCOPE, mesh).
-define(PING_MS, 1000).
-define(STEP_MS, 4000).

start() ->
    Arguments = init:get_plain_arguments(),
    register(mesh_member, spawn(fun() -> run(Arguments) end)).

run([Host, Port, Salps, Beams]) ->
    register(mesh_observer, spawn(fun observer/0)),
    {ok, _} = pg:start(pg),
    {ok, _} = pg:start(?SCOPE),
    ets:new(mesh_load, [named_table, public]),
    put_env(salps, nodes_of(Salps)),
    put_env(beams, nodes_of(Beams)),
    register(mesh_keeper, spawn(fun keeper/0)),
    spawn(fun pinger/0),
    {ok, Address} = inet:parse_address(Host),
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port),
                                    [binary, {packet, line}, {active, false}, {reuseaddr, true}, {ip, Address}]),
    accept(Listener).

nodes_of(Text) -> [list_to_atom(Name) || Name <- string:lexemes(Text, ",")].
put_env(Key, Value) -> application:set_env(kernel, {mesh, Key}, Value).
env(Key) -> {ok, Value} = application:get_env(kernel, {mesh, Key}), Value.

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Server = spawn(fun() -> receive go -> serve(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Server),
    Server ! go,
    accept(Listener).

serve(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Line} ->
            Words = string:lexemes(binary_to_list(Line), " \n"),
            Answer = try command(Words) catch Kind:Reason -> #{error => text({Kind, Reason})} end,
            ok = gen_tcp:send(Socket, [json(Answer), $\n]),
            serve(Socket);
        {error, _} ->
            gen_tcp:close(Socket)
    end.

command(["facts"]) -> facts();
command(["ask", Node]) -> facts_of(list_to_atom(Node));
command(["events"]) -> ask_observer();
command(["load", Seed]) -> load(list_to_integer(Seed)), #{};
command(["calm"]) -> calm(), #{};
command(["plant", Fault]) -> plant(list_to_atom(Fault)), #{};
command(["renew"]) -> [net_kernel:disconnect(Node) || Node <- nodes()], #{};
command(["stop"]) -> init:stop(), #{}.

%% What this node sees

facts() ->
    #{nodes => lists:sort(nodes()),
      known => lists:sort(gen_server:call(global_name_server, get_known, 5000)),
      names => names(fun global:registered_names/0, fun global:whereis_name/1),
      groups => groups([pg, ?SCOPE], fun pg:which_groups/1, fun pg:get_members/2),
      locks => [text({Resource, Requester}) || {Resource, Requester, _} <- ets:tab2list(global_locks)],
      monitors => lists:sort(lists:append([monitors(P) || P <- processes()])),
      links => lists:sort(lists:append([links(P) || P <- processes()])),
      watchers => lists:sort(lists:append([watchers(P) || P <- processes()])),
      load => length([P || {P} <- ets:tab2list(mesh_load), is_process_alive(P)]),
      keeper => id(whereis(mesh_keeper)),
      events => ask_observer()}.

facts_of(Node) ->
    Call = fun(Module, Function, Args) -> erpc:call(Node, Module, Function, Args, 5000) end,
    #{nodes => lists:sort(Call(erlang, nodes, [])),
      known => lists:sort(gen_server:call({global_name_server, Node}, get_known, 5000)),
      names => names(fun() -> Call(global, registered_names, []) end,
                     fun(Name) -> Call(global, whereis_name, [Name]) end),
      groups => groups([pg], fun(Scope) -> Call(pg, which_groups, [Scope]) end,
                       fun(Scope, Group) -> Call(pg, get_members, [Scope, Group]) end)}.

names(All, Find) -> maps:from_list([{text(Name), id(Find(Name))} || Name <- All()]).

groups(Scopes, All, Members) ->
    maps:from_list([{text({Scope, Group}), lists:sort([id(Pid) || Pid <- Members(Scope, Group)])}
                    || Scope <- Scopes, Group <- All(Scope)]).

%% Who holds what at other nodes: `HOLDER NODE`, once for each.

monitors(Pid) ->
    of_others(Pid, monitors, fun({process, {_, Node}}) -> Node; ({process, P}) -> node(P); (_) -> node() end).
links(Pid) -> of_others(Pid, links, fun(P) when is_pid(P) -> node(P); (_) -> node() end).
watchers(Pid) -> of_others(Pid, monitored_by, fun(P) when is_pid(P) -> node(P); (_) -> node() end).

of_others(Pid, Item, NodeOf) ->
    case process_info(Pid, [registered_name, Item]) of
        [{registered_name, Name}, {Item, Those}] ->
            [text({name_of(Name), Node}) || That <- Those, Node <- [NodeOf(That)], Node =/= node()];
        undefined -> []
    end.

name_of([]) -> nameless;
name_of(Name) -> Name.

%% The same text for a process at whatever node.
id(Pid) when is_pid(Pid) ->
    Bytes = term_to_binary(Pid),
    <<Id:32, Serial:32, Creation:32>> = binary:part(Bytes, byte_size(Bytes), -12),
    text({node(Pid), Id, Serial, Creation});
id(Other) -> text(Other).

text(Term) -> unicode:characters_to_binary(io_lib:format("~0tp", [Term])).

json(Map) when is_map(Map) ->
    ["{", lists:join($,, [[json(Key), $:, json(Value)] || {Key, Value} <- maps:to_list(Map)]), "}"];
json(List) when is_list(List) -> ["[", lists:join($,, [json(Item) || Item <- List]), "]"];
json(Number) when is_integer(Number) -> integer_to_binary(Number);
json(Atom) when is_atom(Atom) -> json(atom_to_binary(Atom));
json(Text) -> [$", [escaped(Character) || <<Character>> <= Text], $"].

escaped(Character) when Character =:= $"; Character =:= $\\ -> [$\\, Character];
escaped(Character) -> Character.

%% `nodeup` and `nodedown` of a peer must alternate.

observer() ->
    ok = net_kernel:monitor_nodes(true),
    observe(#{}, 0, []).

observe(Peers, Count, Faults) ->
    receive
        {Event, Node} when Event =:= nodeup; Event =:= nodedown ->
            Faulty = [text({Event, Node, again}) || maps:get(Node, Peers, none) =:= Event],
            observe(Peers#{Node => Event}, Count + 1, Faulty ++ Faults);
        {ask, From} ->
            From ! {events, #{count => Count, faults => Faults}},
            observe(Peers, Count, Faults)
    end.

ask_observer() ->
    mesh_observer ! {ask, self()},
    receive {events, Events} -> Events after 5000 -> exit(no_observer) end.

pinger() ->
    Missing = (env(salps) ++ env(beams)) -- [node() | nodes()],
    [spawn(net_kernel, connect_node, [Node]) || Node <- Missing],
    timer:sleep(?PING_MS),
    pinger().

%% The known set

keeper() ->
    process_flag(trap_exit, true),
    [ok = pg:join(Scope, known, Pids) || {Scope, Pids} <- [{pg, [self(), self()]}, {?SCOPE, self()}]],
    take_name(),
    keep([], []).

%% Of two partitions each may have had a holder of this name: an older one of this node.
take_name() ->
    Me = self(),
    spawn(fun Take() ->
        case global:register_name({known, node()}, Me, fun global:random_notify_name/3) of
            yes -> ok;
            no -> timer:sleep(200), Take()
        end
    end).

keep(Monitors, Links) ->
    receive
        {global_name_conflict, _} ->
            take_name(),
            keep(Monitors, Links);
        {calm, From} ->
            [demonitor(Monitor, [flush]) || Monitor <- Monitors],
            [unlink(Pid) || Pid <- Links],
            From ! calmed,
            keep([], []);
        {watch, Pid, Node} ->
            link(Pid),
            keep([monitor(process, {salp, Node}) | Monitors], [Pid | Links]);
        _ ->
            keep(Monitors, Links)
    end.

calm() ->
    ets:delete(mesh_load, goes),
    end_load(),
    mesh_keeper ! {calm, self()},
    receive calmed -> ok after 5000 -> exit(no_keeper) end,
    [spawn(fun() -> find(Node) end) || Node <- env(salps)].

find(Node) ->
    try erpc:call(Node, erlang, whereis, [salp], 5000) of
        Pid when is_pid(Pid) -> mesh_keeper ! {watch, Pid, Node}
    catch _:_ ->
        timer:sleep(500),
        find(Node)
    end.

end_load() ->
    case [Pid || {Pid} <- ets:tab2list(mesh_load), is_process_alive(Pid)] of
        [] -> ok;
        Pids -> [exit(Pid, kill) || Pid <- Pids], timer:sleep(20), end_load()
    end.

%% The load. Each step is a process of its own, ended after a while wherever it is.

load(Seed) ->
    ets:insert(mesh_load, {goes, true}),
    [begun(fun() -> rand:seed(exsss, {Seed, Number, 1}), steps(Kind) end)
     || {Number, Kind} <- lists:enumerate(lists:append(lists:duplicate(2, kinds())))].

kinds() -> [own_name, clash, lock, trans, group, watch, call, remote, look].

%% A process of the load, spawned by one or by the command.
begun(Fun) ->
    Pid = spawn(fun() -> receive go -> Fun() end end),
    ets:insert(mesh_load, {Pid}),
    Pid ! go,
    Pid.

steps(Kind) ->
    Seed = rand:uniform(1 bsl 32),
    Pid = begun(fun() -> rand:seed(exsss, {Seed, 1, 1}), step(Kind) end),
    Ref = monitor(process, Pid),
    receive {'DOWN', Ref, _, _, _} -> ok
    after rand:uniform(?STEP_MS) ->
        exit(Pid, kill),
        receive {'DOWN', Ref, _, _, _} -> ok end
    end,
    ets:delete(mesh_load, Pid),
    pause(300),
    steps(Kind).

pause(Ms) -> timer:sleep(rand:uniform(Ms)).
one_of(List) -> lists:nth(rand:uniform(length(List)), List).
any_of(Funs) -> (one_of(Funs))().
holder() -> begun(fun() -> pause(3000) end).
all() -> [node() | nodes()].

step(own_name) ->
    Name = {own, node(), rand:uniform(8)},
    Holder = holder(),
    yes = global:register_name(Name, Holder),
    pause(500),
    any_of([fun() -> global:unregister_name(Name) end, fun() -> exit(Holder, kill) end, fun() -> ok end]);
step(clash) ->
    Name = {clash, rand:uniform(3)},
    Method = one_of([fun global:random_exit_name/3, fun global:random_notify_name/3, fun global:notify_all_name/3]),
    global:register_name(Name, holder(), Method),
    pause(300),
    any_of([fun() -> global:re_register_name(Name, holder(), Method) end, fun() -> global:send(Name, hello) end,
            fun() -> global:unregister_name(Name) end, fun() -> ok end]);
step(lock) ->
    Id = {{resource, rand:uniform(3)}, one_of([self(), node()])},
    true = global:set_lock(Id, one_of([all(), [one_of(all())]]), rand:uniform(4) - 1),
    pause(300),
    any_of([fun() -> global:del_lock(Id) end, fun() -> exit(kept) end]);
step(trans) ->
    global:trans({resource, self()}, fun() -> pause(100) end, all(), 2);
step(group) ->
    Scope = one_of([pg, ?SCOPE]),
    Group = {room, rand:uniform(4)},
    Holder = holder(),
    pg:join(Scope, Group, [Holder, self()]),
    pg:join(Scope, Group, Holder),
    pause(300),
    any_of([fun() -> pg:leave(Scope, Group, [Holder, self()]) end, fun() -> exit(Holder, kill) end, fun() -> ok end]);
step(watch) ->
    process_flag(trap_exit, true),
    Node = one_of(env(salps)),
    Ref = monitor(process, {salp, Node}),
    Pid = erpc:call(Node, erlang, whereis, [salp], 3000),
    monitor(process, {nobody, Node}),
    monitor(process, Pid),
    link(Pid),
    pause(200),
    any_of([fun() -> unlink(Pid), link(Pid), unlink(Pid) end, fun() -> demonitor(Ref), unlink(Pid) end,
            fun() -> exit(shutdown) end, fun() -> ok end]);
step(call) ->
    Node = one_of(env(salps)),
    Key = {mesh, rand:uniform(100)},
    Requests = [{put, Key, self()}, {get, Key}, {incr, <<"mesh">>, 1}],
    [gen_server:call({salp, Node}, Request, 3000) || Request <- Requests];
step(remote) ->
    Node = one_of(env(salps)),
    any_of([fun() -> erpc:call(Node, salp, stats, [], 2000) end, fun() -> rpc:call(Node, erlang, nodes, []) end,
            fun() -> erlang:spawn_request(Node, salp, keys, [], [monitor, link]), pause(100) end,
            fun() -> erpc:multicall(nodes(), erlang, node, [], 2000) end]);
step(look) ->
    global:whereis_name({clash, rand:uniform(3)}),
    global_name_server ! {whereis, {clash, 1}, {self(), make_ref()}},
    {global_name_server, one_of(all())} ! {whereis, {clash, 2}, {self(), make_ref()}},
    pause(100).

%% Faults for the checks to catch

plant(lock) -> forever(fun() -> global:set_lock({planted, self()}, [node()]) end);
plant(name) ->
    Method = fun global:random_exit_name/3,
    forever(fun() -> yes = gen_server:call(global_name_server, {register, planted, self(), Method}) end);
plant(group) ->
    forever(fun() ->
        Me = self(),
        sys:replace_state(pg, fun(State) -> ets:insert(pg, {planted, [Me], []}), State end)
    end);
plant(monitor) -> forever(fun() -> monitor(process, {pg, hd(nodes())}) end);
plant(link) -> forever(fun() -> process_flag(trap_exit, true), link(erpc:call(hd(nodes()), erlang, whereis, [pg])) end);
%% Twice: the first may be news, if the peer was connected before the observer began to look.
plant(nodeup) -> [mesh_observer ! {nodeup, hd(nodes())} || _ <- [1, 2]].

forever(Fun) ->
    From = self(),
    spawn(fun() -> Fun(), From ! planted, receive never -> ok end end),
    receive planted -> ok after 5000 -> exit(not_planted) end.
