alias Salp.Test.Cluster

unless Cluster.binary() do
  IO.puts("No salp at #{Cluster.place()}: tests against a cluster are left out. Name it with SALP_BIN.")

  ExUnit.configure(exclude: [:cluster])
end

ExUnit.start()
