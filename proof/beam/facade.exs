# An Elixir node as the client of five salp nodes that have facades: `elixir facade.exs REPLICAS NODE...`.
#
# The facades are `Elixir.Apothik.Cache:missing=nil`, `Elixir.KvStore.MapServer` and `server:style=messages`. The store is
# empty beforehand. Each check prints one line, `ok NAME` or `failed NAME: REASON`; the last line is `end`. The last node is
# stopped by a message.

defmodule Facade do
  @cache Apothik.Cache
  @keys 5_000

  def main([replicas | names]) do
    nodes = Enum.map(names, &String.to_atom/1)
    true = Enum.all?(nodes, &Node.connect/1)
    checks = functions(nodes, String.to_integer(replicas)) ++ calls(nodes) ++ terms(nodes) ++ messages(nodes)
    Enum.each(checks, &check/1)
    IO.puts("end")
  end

  defp functions([n1 | _] = nodes, replicas) do
    [
      {"rpc put", fn -> :ok = rpc(n1, :put, ["k", 12]) end},
      {"rpc get on any node", fn -> for node <- nodes, do: 12 = rpc(node, :get, ["k"]) end},
      {"rpc get of nothing is nil", fn -> nil = rpc(n1, :get, ["nothing"]) end},
      {"stats sum to a copy per replica", fn -> ^replicas = sum(nodes) end},
      {"rpc delete",
       fn ->
         :ok = rpc(n1, :delete, ["k"])
         for node <- nodes, do: nil = rpc(node, :get, ["k"])
         eventually(fn -> sum(nodes) == 0 end)
       end},
      {"a fill through one node sums to every copy",
       fn ->
         for i <- 1..@keys, do: :ok = rpc(n1, :put, ["k_#{i}", i])
         expected = @keys * replicas
         eventually(fn -> sum(nodes) == expected end)
       end},
      {"every value is read on every node",
       fn ->
         for node <- nodes, i <- 1..@keys//97, do: ^i = rpc(node, :get, ["k_#{i}"])
       end},
      {"an unknown function is undef",
       fn ->
         {:badrpc, {:EXIT, {:undef, _}}} = rpc(n1, :no_such_function, [])
       end}
    ]
  end

  defp calls([n1, n2, n3 | _]) do
    [
      {"GenServer put", fn -> :ok = GenServer.call({@cache, n1}, {:put, 1, "something"}) end},
      {"GenServer get elsewhere", fn -> "something" = GenServer.call({@cache, n2}, {:get, 1}) end},
      {"GenServer get of nothing is nil", fn -> nil = GenServer.call({@cache, n2}, {:get, 2}) end},
      {"1 is not 1.0", fn -> nil = GenServer.call({@cache, n2}, {:get, 1.0}) end},
      {"GenServer delete",
       fn ->
         :ok = GenServer.call({@cache, n3}, {:delete, 1})
         nil = GenServer.call({@cache, n1}, {:get, 1})
       end},
      {"GenServer stats", fn -> true = is_integer(GenServer.call({@cache, n1}, :stats)) end},
      {"a cast is read back at once",
       fn ->
         for i <- 1..100 do
           :ok = GenServer.cast({@cache, n1}, {:put, {:cast, i}, i})
           ^i = GenServer.call({@cache, n1}, {:get, {:cast, i}})
         end
       end},
      {"MapServer",
       fn ->
         :ok = GenServer.call({KvStore.MapServer, n1}, {:put, :a, 5})
         5 = GenServer.call({KvStore.MapServer, n2}, {:get, :a})
         nil = GenServer.call({KvStore.MapServer, n2}, {:get, :b})
       end},
      {"one store behind all names",
       fn ->
         {:ok, 5} = GenServer.call({:salp, n3}, {:get, :a})
         5 = rpc(n3, :get, [:a])
       end},
      {"an unknown request is answered",
       fn ->
         {:error, :badarg} = GenServer.call({@cache, n1}, :no_such_request)
       end}
    ]
  end

  defp terms([n1, n2 | _]) do
    for term <- [nil, true, -3.14, 1.0e300, Integer.pow(2, 80), 'chars', "", {}, [], %{a: {1, 2.0}}, 1..2, self()] do
      {"the term #{inspect(term)}",
       fn ->
         :ok = GenServer.call({@cache, n1}, {:put, {:term, term}, term})
         true = GenServer.call({@cache, n2}, {:get, {:term, term}}) === term
       end}
    end
  end

  defp messages([n1, n2 | _] = nodes) do
    last = List.last(nodes)

    [
      {"plain set and get",
       fn ->
         send({:server, n1}, {:set, :moo, -3.14})
         -3.14 = read(n1, :moo)
         eventually(fn -> read(n2, :moo) == -3.14 end)
       end},
      {"plain get of nothing is none", fn -> :none = read(n2, :nothing) end},
      {"plain delete",
       fn ->
         send({:server, n2}, {:delete, :moo})
         :none = read(n2, :moo)
         eventually(fn -> read(n1, :moo) == :none end)
       end},
      {"stop has a node leave, and nothing is lost",
       fn ->
         Node.monitor(last, true)
         send({:server, last}, :stop)

         receive do
           {:nodedown, ^last} -> :ok
         after
           15_000 -> exit(:still_there)
         end

         for i <- 1..5_000//97, do: ^i = rpc(n1, :get, ["k_#{i}"])
       end}
    ]
  end

  defp rpc(node, function, arguments), do: :rpc.call(node, @cache, function, arguments, 10_000)

  defp sum(nodes), do: nodes |> Enum.map(&rpc(&1, :stats, [])) |> Enum.sum()

  defp read(node, key) do
    send({:server, node}, {:get, key, self()})

    receive do
      {:get, value} -> value
    after
      5_000 -> exit(:no_answer)
    end
  end

  defp check({name, fun}) do
    {pid, ref} = spawn_monitor(fn -> held(fun.()) end)

    receive do
      {:DOWN, ^ref, :process, ^pid, :held} -> IO.puts("ok #{name}")
      {:DOWN, ^ref, :process, ^pid, reason} -> IO.puts("failed #{name}: #{inspect(reason, limit: 20, width: 10_000)}")
    after
      60_000 ->
        Process.exit(pid, :kill)
        IO.puts("failed #{name}: no answer in 60 s")
    end
  end

  defp held(_result), do: exit(:held)

  defp eventually(fun, tries \\ 100) do
    cond do
      fun.() -> true
      tries == 0 -> exit(:never)
      true -> Process.sleep(100) && eventually(fun, tries - 1)
    end
  end
end

Facade.main(System.argv())
