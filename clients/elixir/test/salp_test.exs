defmodule SalpTest do
  use ExUnit.Case, async: false

  test "nobody to connect to is an error" do
    assert Salp.connect(:"nobody@127.0.0.1") == {:error, :unreachable}
  end

  test "an unknown option is a mistake" do
    assert_raise ArgumentError, fn -> Salp.connect(:"nobody@127.0.0.1", cokie: :x) end
  end
end

defmodule Salp.ClusterTest do
  use ExUnit.Case, async: false

  alias Salp.Test.Cluster

  @moduletag :cluster

  setup_all do
    cluster = Cluster.start(3)
    on_exit(fn -> Cluster.stop(cluster) end)
    {:ok, cluster: cluster, at: &Cluster.ask(cluster, &1, &2)}
  end

  test "any term is a key and a value", %{cluster: cluster, at: at} do
    for term <- [
          12,
          -3.14,
          :atom,
          "text",
          'chars',
          {:a, 1},
          %{a: [1]},
          nil,
          make_ref(),
          1.0e300,
          Integer.pow(2, 70)
        ] do
      assert at.(:put, [{:key, term}, term]) == :ok

      for node <- cluster.nodes do
        assert Cluster.ask(cluster, :fetch, [{:key, term}], [node]) == {:ok, term}
      end
    end
  end

  test "what is not there is :error, or the default", %{at: at} do
    assert at.(:fetch, [:nothing]) == :error
    assert at.(:get, [:nothing]) == nil
    assert at.(:get, [:nothing, 7]) == 7
    assert at.(:delete, [:nothing]) == :ok
  end

  test "1 and 1.0 are two keys, and a map is one in any order", %{at: at} do
    assert at.(:put, [1, :integer]) == :ok
    assert at.(:put, [1.0, :float]) == :ok
    assert at.(:get, [1]) == :integer
    large = Map.new(1..100, &{&1, &1})
    assert at.(:put, [large, :large]) == :ok
    assert at.(:get, [Map.new(100..1//-1, &{&1, &1})]) == :large
  end

  test "integers are counted on", %{at: at} do
    assert at.(:put, ["count", 40]) == :ok
    assert at.(:incr, ["count"]) == {:ok, 41}
    assert at.(:incr, ["count", -1]) == {:ok, 40}
    assert at.(:get, ["count"]) == 40
    assert at.(:put, ["count", "text"]) == :ok
    assert {:error, _reason} = at.(:incr, ["count"])
  end

  test "a key may have a time to live", %{at: at} do
    assert at.(:ttl, [:short]) == :error
    assert at.(:put, [:short, 1]) == :ok
    assert at.(:ttl, [:short]) == {:ok, :infinity}
    assert at.(:put, [:short, 1, [ttl: 60_000]]) == :ok
    assert {:ok, ms} = at.(:ttl, [:short])
    assert ms in 1..60_000
  end

  test "every copy is counted", %{at: at} do
    stats = at.(:stats, [])
    assert map_size(stats) == 3
    assert stats |> Map.values() |> Enum.all?(&is_integer/1)
  end

  test "a node that goes is an event, and the others answer" do
    cluster = Cluster.start(2)
    on_exit(fn -> Cluster.stop(cluster) end)
    [first, _second] = cluster.nodes
    :ok = Cluster.ask(cluster, :put, [:kept, :value])
    waiting = Task.async(fn -> Cluster.first_down(cluster) end)
    Process.sleep(200)
    Cluster.kill(hd(cluster.pids))
    assert Task.await(waiting, 20_000) == {:down, first}
    assert Cluster.ask(cluster, :fetch, [:kept]) == {:ok, :value}
  end
end
