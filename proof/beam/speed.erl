%% A plain Erlang node to measure (`erl -noshell -s speed`): what `crates/server/examples/node_speed.rs` is for salp.
%%
%% It registers `echo`, a gen_server that answers a
%% call with its request, and `sink`, which counts what it is sent. It prints `ready`, and then
%% obeys lines, each with the answer `done MICROSECONDS`:
%%
%%   calls NODE CALLERS COUNT   so many callers call `echo` there, COUNT times together
%%   sends NODE SENDERS COUNT   so many processes send `sink` there COUNT messages, until it has them
-module(speed).
-behaviour(gen_server).
-export([start/0, init/1, handle_call/3, handle_cast/2]).

start() ->
    {ok, _} = gen_server:start({local, echo}, ?MODULE, [], []),
    register(sink, spawn(fun() -> sink(0) end)),
    io:format("ready~n"),
    spawn(fun obey/0).

init([]) -> {ok, 0}.
handle_call(Request, _From, Count) -> {reply, Request, Count + 1}.
handle_cast(_, Count) -> {noreply, Count}.

sink(Count) ->
    receive
        {'$gen_call', From, who} -> gen_server:reply(From, self()), sink(Count);
        {'$gen_call', From, count} -> gen_server:reply(From, Count), sink(Count);
        _ -> sink(Count + 1)
    end.

obey() ->
    case io:get_line("") of
        eof -> halt();
        Line ->
            [Word, Node | Numbers] = string:lexemes(Line, " \n"),
            [Many, Count] = [list_to_integer(Number) || Number <- Numbers],
            Start = erlang:monotonic_time(microsecond),
            run(Word, list_to_atom(Node), Many, Count),
            io:format("done ~b~n", [erlang:monotonic_time(microsecond) - Start]),
            obey()
    end.

run("calls", Node, Callers, Count) ->
    Request = payload(),
    at_once(Callers, fun() -> calls({echo, Node}, Request, Count div Callers) end);
run("sends", Node, Senders, Count) ->
    Message = payload(),
    Sink = gen_server:call({sink, Node}, who),
    Before = gen_server:call(Sink, count),
    at_once(Senders, fun() ->
        sends(Sink, Message, Count div Senders),
        %% Behind all that this process sent.
        gen_server:call(Sink, count, infinity)
    end),
    Count = gen_server:call(Sink, count) - Before.

at_once(Many, Fun) ->
    Spawned = [spawn_monitor(Fun) || _ <- lists:seq(1, Many)],
    [receive {'DOWN', Ref, process, Pid, normal} -> ok end || {Pid, Ref} <- Spawned].

calls(_, _, 0) -> ok;
calls(To, Request, Count) ->
    Request = gen_server:call(To, Request),
    calls(To, Request, Count - 1).

sends(_, _, 0) -> ok;
sends(To, Message, Count) ->
    To ! Message,
    sends(To, Message, Count - 1).

payload() -> binary:copy(<<"x">>, 64).
