"""One module per kind of trouble; each scenario is a function of a `Run`."""
