defmodule Salp.Epmd do
  @moduledoc """
  Reads the ports of nodes from the command line, for clusters without a port mapper.

      iex --name me@127.0.0.1 --cookie secret \\
          --erl "-start_epmd false -epmd_module Elixir.Salp.Epmd -pa _build/dev/lib/salp/ebin -salp_ports salp_1=9101 salp_2=9102"

  The listed nodes listen on fixed ports (`salp start --no-epmd --dist-port 9101`). This node itself listens on any free
  port, which it does not publish: it dials other nodes, and they cannot dial it.

  This module implements the contract of `erl_epmd` (*How to Implement an Alternative Node Discovery*, ERTS user's guide).
  It runs before most of Elixir is loaded, so it uses only functions of Erlang.
  """

  # Of the distribution protocol: OTP 23 and later.
  @version 6

  def start_link, do: :ignore

  def register_node(name, port), do: register_node(name, port, :inet)

  # Which life of the node this is: any number above those of old will do, as long as it is another at the next start.
  def register_node(_name, _port, _family), do: {:ok, 4 + :rand.uniform(0xFFFF_FF00)}

  def listen_port_please(_name, _host), do: {:ok, 0}

  def address_please(_name, host, family), do: :inet.getaddr(host, family)

  def port_please(name, address), do: port_please(name, address, :infinity)

  def port_please(name, _address, _timeout) do
    case :lists.keyfind(:erlang.iolist_to_binary(name), 1, ports()) do
      {_name, port} -> {:port, port, @version}
      false -> :noport
    end
  end

  def names(_host),
    do: {:ok, for({name, port} <- ports(), do: {:erlang.binary_to_list(name), port})}

  # `-salp_ports NAME=PORT ...`
  defp ports do
    case :init.get_argument(:salp_ports) do
      {:ok, lists} -> for list <- lists, pair <- list, do: parse(:erlang.list_to_binary(pair))
      :error -> []
    end
  end

  defp parse(pair) do
    [name, port] = :binary.split(pair, "=")
    {name, :erlang.binary_to_integer(port)}
  end
end
