defmodule Salp do
  @moduledoc """
  A client of a salp cluster.

      iex> {:ok, salp} = Salp.connect([:"salp_1@127.0.0.1", :"salp_2@127.0.0.1"])
      iex> Salp.put(salp, {:user, 7}, %{name: "Ada"})
      :ok
      iex> Salp.get(salp, {:user, 7})
      %{name: "Ada"}

  A request is a `GenServer.call/3` to the process `:salp` on one of the nodes. Every node answers for every key. The
  client starts no process and keeps no data.

  Keys and values may be any term. A binary is the same key and value as those bytes over the Redis protocol and HTTP.

  ## Failures

  The `reason` of `{:error, reason}` is one of these:

    * `:no_nodes`, `:no_quorum`, `:timeout`, `:busy`, `:oom`, …: the store refused the request;
    * `:unreachable`: the client could connect to none of the nodes, and nothing was executed;
    * `:noconnection`: the connection was lost during the request, and a write may have been executed or not;
    * `:timeout`: no answer in time, and a write may have been executed or not.

  The client does not retry.
  """

  defmodule Error do
    @moduledoc "The store refused the request, or there was no answer."
    defexception [:reason]

    @impl true
    def message(%{reason: reason}), do: "salp: #{inspect(reason)}"
  end

  @enforce_keys [:nodes, :timeout]
  defstruct [:nodes, :timeout]

  @typedoc "The nodes of a cluster in the order in which the client tries them, and the timeout in milliseconds."
  @type t :: %__MODULE__{nodes: [node, ...], timeout: timeout}

  @type key :: term
  @type value :: term
  @type reason :: atom | term

  # Longer than any request may take in the store, so that its own word arrives first.
  @timeout 6_000

  @doc """
  Connects to one of `nodes`.

  Options:

    * `:cookie` – the cookie of the cluster, if it differs from the cookie of this node;
    * `:timeout` – how long a request may take, in milliseconds (#{@timeout}).
  """
  @spec connect(node | [node, ...], keyword) :: {:ok, t} | {:error, reason}
  def connect(nodes, options \\ []) do
    nodes = List.wrap(nodes)
    options = Keyword.validate!(options, [:cookie, timeout: @timeout])

    if cookie = options[:cookie], do: Enum.each(nodes, &Node.set_cookie(&1, cookie))

    salp = %__MODULE__{nodes: nodes, timeout: options[:timeout]}

    with {:ok, _node} <- reachable(salp), do: {:ok, salp}
  end

  @doc "The value of `key`, or `:error` if there is none."
  @spec fetch(t, key) :: {:ok, value} | :error | {:error, reason}
  def fetch(salp, key), do: call(salp, {:get, key})

  @doc "The value of `key`, or `default` if there is none. Raises `Salp.Error` if there is no answer."
  @spec get(t, key, default) :: value | default when default: term
  def get(salp, key, default \\ nil) do
    case fetch(salp, key) do
      {:ok, value} -> value
      :error -> default
      {:error, reason} -> raise Error, reason: reason
    end
  end

  @doc """
  Puts `value` under `key`.

  With `ttl: milliseconds` the key expires after that time.
  """
  @spec put(t, key, value, ttl: pos_integer | :infinity) :: :ok | {:error, reason}
  def put(salp, key, value, options \\ [])
  def put(salp, key, value, []), do: call(salp, {:put, key, value})
  def put(salp, key, value, ttl: ttl), do: call(salp, {:put, key, value, ttl: ttl})

  @doc "Removes `key`. Returns `:ok` also if there is no such key."
  @spec delete(t, key) :: :ok | {:error, reason}
  def delete(salp, key), do: call(salp, {:delete, key})

  @doc """
  Adds `by` to the integer under `key` and returns the sum. A missing key counts as 0.

  Increments on both sides of a network partition all count.
  """
  @spec incr(t, key, integer) :: {:ok, integer} | {:error, reason}
  def incr(salp, key, by \\ 1) when is_integer(by), do: call(salp, {:incr, key, by})

  @doc "The milliseconds until `key` expires; `:error` if there is no such key."
  @spec ttl(t, key) :: {:ok, non_neg_integer | :infinity} | :error | {:error, reason}
  def ttl(salp, key), do: call(salp, {:ttl, key})

  @doc "How many keys each node holds, replicas included, or `{:error, reason}` for a node that does not answer."
  @spec stats(t) :: %{node => non_neg_integer | {:error, reason}}
  def stats(salp), do: Map.new(salp.nodes, &{&1, call_node(&1, :stats, salp.timeout)})

  @doc """
  An endless stream of `{:up, node}` and `{:down, node}`, from now on, for the nodes of `salp`.

  The stream takes its messages from the mailbox of the process that runs it. It reports connections of this node only.
  """
  @spec events(t) :: Enumerable.t()
  def events(%__MODULE__{nodes: nodes}) do
    Stream.resource(
      fn -> :ok = :net_kernel.monitor_nodes(true, node_type: :all) end,
      fn :ok -> {[next_event(nodes)], :ok} end,
      fn :ok -> :net_kernel.monitor_nodes(false, node_type: :all) end
    )
  end

  defp next_event(nodes) do
    receive do
      {:nodeup, node, _info} -> if node in nodes, do: {:up, node}, else: next_event(nodes)
      {:nodedown, node, _info} -> if node in nodes, do: {:down, node}, else: next_event(nodes)
    end
  end

  defp call(salp, request) do
    with {:ok, node} <- reachable(salp), do: call_node(node, request, salp.timeout)
  end

  # A node that is connected, or else the first that can be: to dial one that is switched off takes seconds.
  defp reachable(%__MODULE__{nodes: nodes}) do
    connected = [node() | Node.list(:connected)]

    case Enum.find(nodes, &(&1 in connected)) || Enum.find(nodes, &(Node.connect(&1) == true)) do
      nil -> {:error, :unreachable}
      node -> {:ok, node}
    end
  end

  defp call_node(node, request, timeout) do
    GenServer.call({:salp, node}, request, timeout)
  catch
    :exit, {{:nodedown, _node}, _call} -> {:error, :noconnection}
    :exit, {reason, _call} -> {:error, reason}
  end
end
