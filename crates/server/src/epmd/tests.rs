//! The port mapper against itself and, where it is installed, against that of Erlang.
