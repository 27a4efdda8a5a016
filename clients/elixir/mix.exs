defmodule Salp.MixProject do
  use Mix.Project

  @version "0.1.0"

  def project do
    [
      app: :salp,
      version: @version,
      elixir: "~> 1.14",
      elixirc_paths: elixirc_paths(Mix.env()),
      deps: [],
      description: "Client of the salp key-value store, by Erlang distribution",
      package: [licenses: ["MIT", "Apache-2.0"], files: ~w(lib mix.exs README.md .formatter.exs)]
    ]
  end

  def application, do: [extra_applications: []]

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]
end
