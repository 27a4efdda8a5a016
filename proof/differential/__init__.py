"""Random commands, sent to salp and to a redis-server of this machine, whose replies are compared byte by byte."""
