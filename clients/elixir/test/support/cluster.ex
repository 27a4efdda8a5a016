defmodule Salp.Test.Cluster do
  @moduledoc """
  A private cluster on this machine and an Elixir node that is its client, without a port mapper: each node has a fixed
  port, and the client is told them on its command line (`Salp.Epmd`).
  """

  @ready_ms 30_000

  defstruct [:client, :nodes, :pids]

  @doc "Where the binary is looked for."
  def place do
    System.get_env("SALP_BIN", Path.expand("../../../../target/debug/salp", __DIR__))
  end

  @doc "The binary, if it is there."
  def binary, do: if(File.exists?(place()), do: place())

  @doc "Starts `count` salp nodes and a client."
  def start(count) do
    unique = System.unique_integer([:positive])
    cookie = "salp#{System.pid()}#{unique}"
    peers = for index <- 1..count, do: {"salp_#{System.pid()}_#{unique}_#{index}", free_port()}
    [first | others] = peers
    {_, first_port} = first
    join = ["--join", "#{full(first)}:#{first_port}"]
    pids = [salp(first, cookie, []) | Enum.map(others, &salp(&1, cookie, join))]
    {:ok, client, _node} = client(cookie, peers)
    cluster = %__MODULE__{client: client, nodes: Enum.map(peers, &full/1), pids: pids}
    wait_ready(cluster, System.monotonic_time(:millisecond) + @ready_ms)
    cluster
  end

  @doc "Ends what was started."
  def stop(cluster) do
    :peer.stop(cluster.client)
    Enum.each(cluster.pids, &kill/1)
  end

  @doc "Ends one salp node as a power cut would."
  def kill(pid), do: System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true)

  @doc "Has the client ask the cluster: calls a function of `Salp`."
  def ask(cluster, function, arguments, nodes \\ nil) do
    salp = %Salp{nodes: nodes || cluster.nodes, timeout: 6_000}
    call(cluster, Salp, function, [salp | arguments])
  end

  @doc "The first node that the client sees go, from now on."
  def first_down(cluster), do: call(cluster, __MODULE__, :await_down, [cluster.nodes])

  @doc false
  def await_down(nodes) do
    Enum.each(nodes, &Node.connect/1)
    %Salp{nodes: nodes, timeout: 6_000} |> Salp.events() |> Enum.find(&match?({:down, _node}, &1))
  end

  defp call(cluster, module, function, arguments), do: :peer.call(cluster.client, module, function, arguments, 20_000)

  defp full({name, _port}), do: :"#{name}@127.0.0.1"

  defp salp({_, port} = node, cookie, join) do
    fixed = ~w(start --name #{full(node)} --cookie #{cookie} --no-epmd --dist-port #{port} --resp off --http off
               --replicas 2 --shards 64 --state-dir none)

    options = [:binary, :exit_status, :stderr_to_stdout, args: fixed ++ join]
    {:os_pid, pid} = {:spawn_executable, place()} |> Port.open(options) |> Port.info(:os_pid)
    pid
  end

  defp client(cookie, peers) do
    paths = :code.get_path()
    ports = for {name, port} <- peers, do: ~c"#{name}=#{port}"

    :peer.start(%{
      name: :"client_#{System.unique_integer([:positive])}_#{System.pid()}",
      host: ~c"127.0.0.1",
      longnames: true,
      connection: :standard_io,
      args:
        [
          ~c"-start_epmd",
          ~c"false",
          ~c"-epmd_module",
          ~c"Elixir.Salp.Epmd",
          ~c"-setcookie",
          ~c"#{cookie}"
        ] ++
          [~c"-pa" | paths] ++ [~c"-salp_ports" | ports]
    })
  end

  # Every node answers. One that is to join others does not before it has met them.
  defp wait_ready(cluster, limit) do
    ready = Enum.all?(cluster.nodes, &(ask(cluster, :put, [:ready, true], [&1]) == :ok))

    cond do
      ready ->
        :ok

      System.monotonic_time(:millisecond) > limit ->
        raise "the cluster was not ready in #{@ready_ms} ms"

      true ->
        Process.sleep(50) && wait_ready(cluster, limit)
    end
  end

  defp free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)
    port
  end
end
